"""A contact sheet: questions as the model is asked them, each with its gold answer below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

from vovnet.commands.inspect.summary import sample_tokens
from vovnet.config import Settings
from vovnet.core.files import atomic_path
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.image_decoding import open_image
from vovnet.data.prompts import question_text
from vovnet.data.sets import image_paths

CELL_WIDTH = 420
MARGIN = 14
PICTURE_HEIGHT = 240
FONT_SIZE = 14
LINE_HEIGHT = 19
MAX_LINES = 26
NUM_COLUMNS = 4

PAPER, FRAME, INK, FAINT, GOLD = "white", "#b8b8b8", "#111111", "#666666", "#0a6b2d"


@dataclass(frozen=True)
class Block:
    """A part of a cell: lines of text in one colour, or a strip of pictures."""

    colour: str = INK
    lines: tuple[str, ...] = ()
    picture: Image.Image | None = None

    @property
    def height(self) -> int:
        if self.picture is not None:
            return self.picture.height + MARGIN
        return len(self.lines) * LINE_HEIGHT + MARGIN // 2


def write_sheet(path: Path, settings: Settings, layout: Layout, samples: Sequence[Sample]) -> None:
    """Draw the samples in rows of NUM_COLUMNS. Equal samples give a file of equal bytes."""
    cells = [_cell(settings, layout, sample) for sample in samples]
    num_rows = math.ceil(len(cells) / NUM_COLUMNS)
    heights = [
        max(sum(block.height for block in cell) for cell in cells[first : first + NUM_COLUMNS])
        + 2 * MARGIN
        for first in range(0, num_rows * NUM_COLUMNS, NUM_COLUMNS)
    ]
    width = min(len(cells), NUM_COLUMNS) * CELL_WIDTH
    sheet = Image.new("RGB", (width, sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, cell in enumerate(cells):
        row, column = divmod(index, NUM_COLUMNS)
        left, top = column * CELL_WIDTH, sum(heights[:row])
        box = (left, top, left + CELL_WIDTH - 1, top + heights[row] - 1)
        draw.rectangle(box, outline=FRAME)
        _draw_cell(sheet, draw, cell, left + MARGIN, top + MARGIN)
    with atomic_path(path) as partial:
        sheet.save(partial, format="PNG")


def _cell(settings: Settings, layout: Layout, sample: Sample) -> list[Block]:
    """Text and pictures in the order of the prompt, and below them the expected answer."""
    data, budget = settings.data, settings.vision_budget
    asked = question_text(sample, data.prompt_template)
    if data.system_prompt:
        asked = f"[system] {data.system_prompt}\n{asked}"
    text = Block(lines=_wrapped(asked))
    pictures = Block(picture=_strip(image_paths(settings, layout, sample)))
    tokens = ", ".join(
        f"{action} {sample_tokens(sample, budget, action)}" for action in settings.actions
    )
    sizes = ", ".join(f"{image.width} x {image.height}" for image in sample.images)
    title = f"{sample.id}  {sample.question_type}\n{sizes} px; tokens: {tokens}"
    order = [text, pictures] if data.prompt_order == "text_first" else [pictures, text]
    return [Block(FAINT, _wrapped(title)), *order, Block(GOLD, _wrapped(_expected(sample)))]


def _expected(sample: Sample) -> str:
    """The answer that training uses, and the other answers that the scorer accepts."""
    if not sample.answer_text:
        return "= (no gold answer)"
    letter = f"{sample.answer}: " if sample.choices and sample.answer in sample.choices else ""
    others = list(dict.fromkeys(text for text in sample.answers if text != sample.answer_text))
    accepted = f"\nalso: {' | '.join(others)}" if others else ""
    return f"= {letter}{sample.answer_text}{accepted}"


def _draw_cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: list[Block], left: int, top: int
) -> None:
    for block in cell:
        if block.picture is not None:
            sheet.paste(block.picture, (left, top))
        for number, line in enumerate(block.lines):
            position = (left, top + number * LINE_HEIGHT)
            draw.text(position, line, fill=block.colour, font=_font())
        top += block.height


def _strip(paths: Sequence[Path]) -> Image.Image:
    """The images of a question side by side, scaled to fit into a cell."""
    inner = CELL_WIDTH - 2 * MARGIN
    share = inner // max(1, len(paths))
    thumbnails = [_thumbnail(path, share - 4) for path in paths]
    height = max((image.height for image in thumbnails), default=1)
    strip = Image.new("RGB", (inner, height), PAPER)
    for number, image in enumerate(thumbnails):
        strip.paste(image, (number * share, 0))
    return strip


def _thumbnail(path: Path, width: int) -> Image.Image:
    return ImageOps.contain(open_image(path), (max(1, width), PICTURE_HEIGHT))


def _wrapped(text: str) -> tuple[str, ...]:
    """Lines that fit into a cell, at most MAX_LINES of them."""
    lines = [line for paragraph in text.split("\n") for line in _wrapped_line(paragraph)]
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"... ({len(lines) - MAX_LINES + 1} more lines)"]
    return tuple(lines)


def _wrapped_line(text: str) -> list[str]:
    inner = CELL_WIDTH - 2 * MARGIN
    lines, line = [], ""
    for word in text.replace("\t", " ").split(" "):
        longer = f"{line} {word}" if line else word
        if _font().getlength(longer) <= inner:
            line = longer
            continue
        if line:
            lines.append(line)
        while _font().getlength(word) > inner:
            fits = next(
                end for end in range(len(word) - 1, 0, -1) if _font().getlength(word[:end]) <= inner
            )
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return [*lines, line]


@cache
def _font() -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib, so that a sheet looks alike on every machine."""
    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(path), FONT_SIZE)

"""A contact sheet: questions as the model is asked them, each with its gold answer below."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

from vovnet.commands.inspect.summary import sample_tokens
from vovnet.config import Settings
from vovnet.core.files import atomic_path
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.decoder import open_image
from vovnet.data.prompts import question_text
from vovnet.data.sets import image_paths
from vovnet.evaluation.joined import accepted_answers
from vovnet.views.logged import is_logged

CELL_WIDTH = 420
MARGIN = 14
INNER_WIDTH = CELL_WIDTH - 2 * MARGIN
PICTURE_HEIGHT = 240
FONT_SIZE = 14
LINE_HEIGHT = 19
MAX_LINES = 26
MAX_CHARACTERS = 200
"""Of a line, whatever their width."""
NUM_COLUMNS = 4

PAPER, FRAME, INK, FAINT, GOLD = "white", "#b8b8b8", "#111111", "#666666", "#0a6b2d"


def write_sheet(path: Path, settings: Settings, layout: Layout, samples: Sequence[Sample]) -> None:
    """Draw the samples in rows of NUM_COLUMNS. Equal samples give a file of equal bytes."""
    cells = [_cell(settings, layout, sample) for sample in samples]
    rows = [cells[first : first + NUM_COLUMNS] for first in range(0, len(cells), NUM_COLUMNS)]
    heights = [max(cell.height for cell in row) for row in rows]
    width = min(len(cells), NUM_COLUMNS) * CELL_WIDTH
    sheet = Image.new("RGB", (width, sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            left = column * CELL_WIDTH
            sheet.paste(cell, (left, top))
            draw.rectangle((left, top, left + CELL_WIDTH - 1, top + height - 1), outline=FRAME)
        top += height
    with atomic_path(path) as partial:
        sheet.save(partial, format="PNG")


def _cell(settings: Settings, layout: Layout, sample: Sample) -> Image.Image:
    """Text and pictures in the order of the prompt, and below them the expected answer."""
    data, budget = settings.data, settings.vision_budget
    asked = question_text(sample, data.prompt_template)
    if data.system_prompt:
        asked = f"[system] {data.system_prompt}\n{asked}"
    text, pictures = _text(asked, INK), _pictures(image_paths(settings, layout, sample))
    tokens = ", ".join(
        f"{action} {sample_tokens(sample, budget, action)}"
        for action in settings.actions
        if not is_logged(action)
    )
    sizes = ", ".join(f"{image.width} x {image.height}" for image in sample.images)
    title = f"{sample.id}  {sample.question_type}\n{sizes} px; tokens: {tokens}"
    order = [text, pictures] if data.prompt_order == "text_first" else [pictures, text]
    parts = [_text(title, FAINT), *order, _text(_expected(sample), GOLD)]
    cell = Image.new("RGB", (CELL_WIDTH, sum(part.height for part in parts) + 2 * MARGIN), PAPER)
    top = MARGIN
    for part in parts:
        cell.paste(part, (MARGIN, top))
        top += part.height
    return cell


def _expected(sample: Sample) -> str:
    """The answer that training uses, and the other answers that the scorer accepts."""
    first, *others = accepted_answers(sample) or ["(no gold answer)"]
    accepted = f"\nalso: {' | '.join(others)}" if others else ""
    return f"= {first}{accepted}"


def _text(text: str, colour: str) -> Image.Image:
    lines = _wrapped(text)
    part = Image.new("RGB", (INNER_WIDTH, len(lines) * LINE_HEIGHT + MARGIN // 2), PAPER)
    draw = ImageDraw.Draw(part)
    for number, line in enumerate(lines):
        draw.text((0, number * LINE_HEIGHT), line, fill=colour, font=_font())
    return part


def _pictures(paths: Sequence[Path]) -> Image.Image:
    """The images of a question side by side, scaled to fit into a cell."""
    share = INNER_WIDTH // max(1, len(paths))
    size = (max(1, share - 4), PICTURE_HEIGHT)
    thumbnails = [ImageOps.contain(open_image(path), size) for path in paths]
    height = max((image.height for image in thumbnails), default=1)
    part = Image.new("RGB", (INNER_WIDTH, height + MARGIN), PAPER)
    for number, image in enumerate(thumbnails):
        part.paste(image, (number * share, 0))
    return part


def _wrapped(text: str) -> list[str]:
    """Lines that fit into a cell, at most MAX_LINES of them; every kind of line break breaks."""
    endless = (line for part in text.splitlines() or [""] for line in _wrapped_line(part))
    lines = list(islice(endless, MAX_LINES + 1))
    return lines if len(lines) <= MAX_LINES else [*lines[: MAX_LINES - 1], "..."]


def _wrapped_line(text: str) -> Iterator[str]:
    line = ""
    for word in text.replace("\t", " ").split(" "):
        longer = f"{line} {word}" if line else word
        if _fits(longer):
            line = longer
            continue
        if line:
            yield line
        start = 0
        while not _fits(word[start : start + MAX_CHARACTERS + 1]):
            ends = range(start + 1, min(len(word), start + MAX_CHARACTERS) + 1)
            end = start + max(
                1, bisect_right(ends, float(INNER_WIDTH), key=lambda end: _width(word[start:end]))
            )
            yield word[start:end]
            start = end
        line = word[start:]
    yield line


def _fits(text: str) -> bool:
    return len(text) <= MAX_CHARACTERS and _width(text) <= INNER_WIDTH


def _width(text: str) -> float:
    return _font().getlength(text)


@cache
def _font() -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib, so that a sheet looks alike on every machine."""
    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(path), FONT_SIZE)

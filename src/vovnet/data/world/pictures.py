"""The pictures of the synthetic world: a shape in a plain colour, in a pattern, or in print.

Patterns and print come in any size of detail. What a view shows of them follows from it: no view
shows what is finer than two of its pixels. Their mean colour is the same whatever they say, so
that a view that does not resolve them tells nothing.
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vovnet.core.arrays import Floats

Option = TypeVar("Option", bound=str)
Size = tuple[int, int]
Box = tuple[int, int, int, int]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "green": (30, 150, 60),
    "blue": (31, 90, 220),
    "yellow": (245, 215, 30),
    "orange": (250, 130, 20),
    "purple": (130, 50, 170),
    "black": (20, 20, 20),
    "white": (250, 250, 250),
}
NAMED = tuple(COLOURS)
INKS = ("red", "green", "blue", "purple", "black")
"""Colours that stand out from white paper."""
SHAPES = ("circle", "square", "triangle", "cross", "ring", "diamond")
SHEETS = ("circle", "square", "diamond")
"""Shapes that have room for a pattern."""
PATTERNS = ("horizontal", "vertical", "diagonal", "dotted")
PLACES = ("left", "right", "middle")
LETTERS = ("L", "N", "O", "T", "V", "X", "Z", "U")
"""What is printed; none of them names an option."""
TOKEN_SIDE = 32
"""Side in pixels of what one vision token of the tiny model shows at FULL."""
GRAIN = 24.0
"""Standard deviation of the noise on patterns and print, of 255."""
GLYPH_POINTS = 96


@dataclass(frozen=True)
class Draw:
    """What a template draws from: a random generator, a name of the right part, a picture size."""

    rng: np.random.Generator
    name: str
    size: Size

    def pick(self, options: tuple[Option, ...]) -> Option:
        return options[int(self.rng.integers(len(options)))]

    def pick_two(self, options: tuple[str, ...]) -> list[str]:
        return [options[index] for index in self.rng.permutation(len(options))[:2]]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)


def shape_picture(draw: Draw, shape: str, colour: str, box: Box | None = None) -> Image.Image:
    """A shape in a plain colour."""
    box = box or _box(draw, _side(draw, 36, 56))
    picture = _background(draw)
    picture.paste(COLOURS[colour], mask=_shape_mask(draw.size, shape, box))
    return picture


def any_picture(draw: Draw) -> Image.Image:
    """A picture that does not matter to the question."""
    return shape_picture(draw, draw.pick(SHAPES), draw.pick(NAMED))


def placed_picture(draw: Draw, place: str) -> Image.Image:
    """A small shape in the left, the middle or the right third."""
    width, height = draw.size
    side = _side(draw, 20, 28)
    third = width // 3
    start = {"left": 0, "middle": 1, "right": 2}[place] * third
    left = start + int(draw.rng.integers(2, third - side + 1))
    top = int(draw.rng.integers(2, height - side - 2))
    box = (left, top, left + side, top + side)
    return shape_picture(draw, draw.pick(SHAPES), draw.pick(NAMED), box)


def lined_up_picture(draw: Draw, shape: str, colour: str) -> Image.Image:
    """A large shape that fills four vision tokens."""
    cells = (int(draw.rng.integers(0, side // TOKEN_SIDE - 1)) for side in draw.size)
    left, top = (TOKEN_SIDE * cell for cell in cells)
    end = 2 * TOKEN_SIDE - 4
    return shape_picture(draw, shape, colour, (left + 3, top + 3, left + end, top + end))


def pattern_picture(draw: Draw, pattern: str, period: float, ink: str) -> Image.Image:
    """A shape in a pattern that repeats after `period` pixels."""
    return _sheet_picture(draw, _pattern(draw, pattern, period), ink)


def print_picture(draw: Draw, letter: str, pitch: int, ink: str) -> Image.Image:
    """A shape printed all over with a letter, one on every `pitch` pixels."""
    return _sheet_picture(draw, _print(draw, letter, pitch), ink)


def _sheet_picture(draw: Draw, share_HW: Floats, ink: str) -> Image.Image:
    """A shape on which `share_HW` of each pixel is ink, and the rest white paper."""
    picture = _background(draw)
    ink_3, paper_3 = np.array(COLOURS[ink]), np.array([255, 255, 255])
    pixels_HW3 = paper_3 + share_HW[..., None] * (ink_3 - paper_3)
    pixels_HW3 += draw.rng.normal(0, GRAIN, size=(*share_HW.shape, 1))
    sheet = Image.fromarray(np.clip(pixels_HW3, 0, 255).astype(np.uint8))
    mask = _shape_mask(draw.size, draw.pick(SHEETS), _box(draw, _side(draw, 44, 60)))
    picture.paste(sheet, mask=mask)
    return picture


def _pattern(draw: Draw, pattern: str, period: float) -> Floats:
    """The share of ink of each pixel, half of it on average; all patterns are equally fine."""
    width, height = draw.size
    rows_HW, columns_HW = (2 * np.pi / period * place for place in np.indices((height, width)))
    first, second = draw.rng.uniform(0, 2 * np.pi, size=2)
    if pattern == "horizontal":
        wave_HW = np.sin(rows_HW + first)
    elif pattern == "vertical":
        wave_HW = np.sin(columns_HW + first)
    elif pattern == "diagonal":
        wave_HW = np.sin((rows_HW + columns_HW) / np.sqrt(2) + first)
    else:
        down_HW, along_HW = rows_HW / np.sqrt(2) + first, columns_HW / np.sqrt(2) + second
        wave_HW = 1.4 * np.sin(down_HW) * np.sin(along_HW)
    return np.clip(0.5 + 0.5 * wave_HW, 0, 1)


def _print(draw: Draw, letter: str, pitch: int) -> Floats:
    """Likewise, of lines of a letter, which stand on a grid as print does."""
    width, height = draw.size
    cell_HW = _glyph(letter, pitch)
    ink_HW = np.tile(cell_HW, (-(-height // pitch), -(-width // pitch)))[:height, :width]
    mean = float(cell_HW.mean())
    return 0.5 + 0.5 / max(mean, 1 - mean) * (ink_HW - mean)


@cache
def _glyph(letter: str, pitch: int) -> Floats:
    """A letter in the middle of a square of `pitch` pixels, as a share of ink per pixel."""
    font = ImageFont.load_default(GLYPH_POINTS)
    left, top, right, bottom = (int(side) for side in font.getbbox(letter))
    large = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(large).text((-left, -top), letter, fill=255, font=font, stroke_width=2)
    height = round(0.82 * pitch)
    width = min(height, max(3, round(height * large.width / large.height)))
    small = large.resize((width, height), Image.Resampling.BOX)
    cell = Image.new("L", (pitch, pitch), 0)
    cell.paste(small, ((pitch - width) // 2, (pitch - height) // 2))
    return np.asarray(cell, dtype=np.float64) / 255


def _background(draw: Draw) -> Image.Image:
    """A light, tinted, slightly noisy background, so that no two pictures are equal."""
    width, height = draw.size
    tint_3 = draw.rng.integers(150, 200, size=3)
    noise_HW1 = draw.rng.normal(0, 4, size=(height, width, 1))
    pixels_HW3: NDArray[np.uint8] = np.clip(tint_3 + noise_HW1, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels_HW3)


def _box(draw: Draw, side: int) -> Box:
    """A square of `side` pixels at a random place, with a margin of 2 pixels."""
    width, height = draw.size
    left = int(draw.rng.integers(2, width - side - 1))
    top = int(draw.rng.integers(2, height - side - 1))
    return left, top, left + side, top + side


def _side(draw: Draw, low: int, high: int) -> int:
    return int(draw.rng.integers(low, min(high, min(draw.size) - 6) + 1))


def _shape_mask(size: Size, shape: str, box: Box) -> Image.Image:
    mask = Image.new("L", size, 0)
    pen = ImageDraw.Draw(mask)
    left, top, right, bottom = box
    middle_x, middle_y, third = (left + right) // 2, (top + bottom) // 2, (right - left) // 3
    if shape == "circle":
        pen.ellipse(box, fill=255)
    elif shape == "square":
        pen.rectangle(box, fill=255)
    elif shape == "triangle":
        pen.polygon([(middle_x, top), (left, bottom), (right, bottom)], fill=255)
    elif shape == "diamond":
        pen.polygon(
            [(middle_x, top), (right, middle_y), (middle_x, bottom), (left, middle_y)], fill=255
        )
    elif shape == "cross":
        pen.rectangle((left + third, top, right - third, bottom), fill=255)
        pen.rectangle((left, top + third, right, bottom - third), fill=255)
    else:
        pen.ellipse(box, fill=255)
        inset = (right - left) // 4
        pen.ellipse((left + inset, top + inset, right - inset, bottom - inset), fill=0)
    return mask

"""The synthetic world: questions about drawn pictures, of which we know how closely to look.

A template fixes the kind of a question and where its answer is:

- in the text alone (sums, recall), or mostly, by a strong prior (the colour of a banana);
- in a small image (colour, shape, place);
- only in the full image (patterns of 2 pixels' period, print made of single dots);
- in a small or only in the full image, and the text does not tell which (a sign or a pattern that
  may be coarse or fine).

Questions of the training part and the evaluation part never share a name, so that their texts
differ; their pictures differ by jitter and tint. Everything follows from one random generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Part = Literal["train", "eval"]
Size = tuple[int, int]

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
SHAPES = ("circle", "square", "triangle", "cross", "ring", "diamond")
PATTERNS = ("horizontal", "vertical", "checked", "plain")
PLACES = ("left", "right", "middle")
WORDS = ("cat", "dog", "sun", "bus", "map", "key", "pen", "cup", "hat", "box", "fly", "zoo")
PRIOR_COLOURS = {
    "banana": "yellow",
    "tomato": "red",
    "frog": "green",
    "plum": "purple",
    "carrot": "orange",
}
PRIOR_STRENGTH = 0.85
TOKEN_SIDE = 32
"""Side in pixels of what one vision token of the tiny model shows at FULL."""
SIGN_POINTS = 15
DOT_CONTRAST = 72
BOARD_NOISE = 24
THINGS = ("kite", "boat", "lamp", "sock", "chair")
CONSONANTS = "bdfgklmnprstvz"
VOWELS = "aeiou"


@dataclass(frozen=True)
class Item:
    """A question with its pictures; `pool` holds right and wrong answers of the same kind."""

    template: str
    question: str
    answer: str
    pool: tuple[str, ...]
    images: tuple[Image.Image, ...]


@dataclass(frozen=True)
class Draw:
    """What a template draws from: a random generator, a name of the right part, a picture size."""

    rng: np.random.Generator
    name: str
    size: Size

    def pick(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.integers(len(options)))]


def make_name(rng: np.random.Generator, part: Part) -> str:
    """A pronounceable name. The two parts have no name in common: their first vowels differ."""
    vowels = "aeo" if part == "train" else "iu"
    letters = [CONSONANTS[rng.integers(len(CONSONANTS))], vowels[rng.integers(len(vowels))]]
    for _ in range(3):
        letters.append(CONSONANTS[rng.integers(len(CONSONANTS))])
        letters.append(VOWELS[rng.integers(len(VOWELS))])
    return "".join(letters).capitalize()


# ---- pictures --------------------------------------------------------------------------


def _background(draw: Draw) -> Image.Image:
    """A light, tinted, slightly noisy background, so that no two pictures are equal."""
    width, height = draw.size
    tint_3 = draw.rng.integers(150, 200, size=3)
    noise_HW1 = draw.rng.normal(0, 4, size=(height, width, 1))
    pixels_HW3 = np.clip(tint_3 + noise_HW1, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels_HW3)


def _box(draw: Draw, side: int) -> tuple[int, int, int, int]:
    """A square of `side` pixels at a random place, with a margin of 2 pixels."""
    width, height = draw.size
    left = int(draw.rng.integers(2, width - side - 1))
    top = int(draw.rng.integers(2, height - side - 1))
    return left, top, left + side, top + side


def _side(draw: Draw, low: int = 36, high: int = 56) -> int:
    return int(draw.rng.integers(low, min(high, min(draw.size) - 6) + 1))


def _shape_mask(size: Size, shape: str, box: tuple[int, int, int, int]) -> Image.Image:
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


def _pattern(size: Size, pattern: str, colour: str, period: int) -> Image.Image:
    """A pattern of `colour` and white. `plain` is their mean: all patterns have one mean colour."""
    width, height = size
    rows_H1, columns_1W = np.mgrid[0:height, 0:1][0], np.mgrid[0:1, 0:width][1]
    half = period // 2
    if pattern == "horizontal":
        share_HW = (rows_H1 // half % 2) + 0 * columns_1W
    elif pattern == "vertical":
        share_HW = (columns_1W // half % 2) + 0 * rows_H1
    elif pattern == "checked":
        share_HW = (rows_H1 // half + columns_1W // half) % 2
    else:
        share_HW = np.full((height, width), 0.5)
    ink_3, paper_3 = np.array(COLOURS[colour]), np.array([255, 255, 255])
    pixels_HW3 = share_HW[..., None] * ink_3 + (1 - share_HW[..., None]) * paper_3
    return Image.fromarray(pixels_HW3.astype(np.uint8))


def _shape_picture(
    draw: Draw, shape: str, colour: str, box: tuple[int, int, int, int]
) -> Image.Image:
    picture = _background(draw)
    picture.paste(COLOURS[colour], mask=_shape_mask(draw.size, shape, box))
    return picture


def _any_picture(draw: Draw) -> Image.Image:
    """A picture that does not matter to the question."""
    colour, shape = draw.pick(tuple(COLOURS)), draw.pick(SHAPES)
    return _shape_picture(draw, shape, colour, _box(draw, _side(draw)))


def _pattern_picture(draw: Draw, pattern: str, period: int) -> Image.Image:
    picture = _background(draw)
    colour = draw.pick(("red", "green", "blue", "purple", "black"))
    shape = draw.pick(("circle", "square", "diamond"))
    mask = _shape_mask(draw.size, shape, _box(draw, _side(draw, 44, 60)))
    picture.paste(_pattern(draw.size, pattern, colour, period), mask=mask)
    return picture


def _sign_picture(draw: Draw, word: str, fine: bool) -> Image.Image:
    """A word on a board, in solid ink or in single dots.

    Dots and board have one mean colour, so that a picture of half the size shows no word.
    Words stand on the grid of the model's vision tokens, as print stands on lines.
    """
    picture = _background(draw)
    width, height = draw.size
    font = ImageFont.load_default(SIGN_POINTS)
    left, top, right, bottom = (int(side) for side in font.getbbox(word))
    small = Image.new("L", (TOKEN_SIDE, TOKEN_SIDE // 2), 0)
    place = ((small.width - right - left) // 2, (small.height - bottom - top) // 2)
    ImageDraw.Draw(small).text(place, word, fill=255, font=font)
    cell = small.point(lambda value: 255 if value > 100 else 0).resize(
        (2 * TOKEN_SIDE, TOKEN_SIDE), Image.Resampling.NEAREST
    )
    x = TOKEN_SIDE * int(draw.rng.integers(0, width // TOKEN_SIDE - 1))
    y = TOKEN_SIDE * int(draw.rng.integers(0, height // TOKEN_SIDE))
    if fine:
        board = _dotted_board(draw, np.asarray(cell) > 0)
    else:
        board = Image.new("RGB", cell.size, (255, 255, 255))
        board.paste((0, 0, 0), mask=cell)
    picture.paste(board, (x, y))
    return picture


def _dotted_board(draw: Draw, ink_HW: NDArray[np.bool_]) -> Image.Image:
    """A noisy grey board on which ink is dark and light dots in turn, pixel by pixel.

    Averaged over four pixels ink and board are equal but for the noise, so what a smaller
    picture keeps of the letters' edges drowns in it.
    """
    height, width = ink_HW.shape
    sign_HW = 1 - 2 * (np.add.outer(np.arange(height), np.arange(width)) % 2)
    noise_HW = draw.rng.normal(0, BOARD_NOISE, size=ink_HW.shape)
    grey_HW = 128 + noise_HW + DOT_CONTRAST * sign_HW * ink_HW
    return Image.fromarray(np.clip(grey_HW, 0, 255).astype(np.uint8)).convert("RGB")


# ---- templates -------------------------------------------------------------------------


def _sum(draw: Draw) -> Item:
    first, second = (int(value) for value in draw.rng.integers(1, 10, size=2))
    question = (
        f"{draw.name} has {first} pears and buys {second} more. How many pears has {draw.name}?"
    )
    pool = tuple(str(value) for value in range(2, 19))
    return Item("sum", question, str(first + second), pool, (_any_picture(draw),))


def _recall(draw: Draw) -> Item:
    things = draw.rng.permutation(len(THINGS))[:2]
    colours = draw.rng.permutation(len(COLOURS))[:2]
    names = [list(COLOURS)[index] for index in colours]
    told = " and ".join(
        f"a {colour} {THINGS[thing]}" for colour, thing in zip(names, things, strict=True)
    )
    asked = int(draw.rng.integers(2))
    question = f"{draw.name} owns {told}. What colour is the {THINGS[things[asked]]}?"
    return Item("recall", question, names[asked], tuple(COLOURS), (_any_picture(draw),))


def _prior(draw: Draw) -> Item:
    thing = draw.pick(tuple(PRIOR_COLOURS))
    colour = PRIOR_COLOURS[thing]
    if draw.rng.random() >= PRIOR_STRENGTH:
        colour = draw.pick(tuple(name for name in COLOURS if name != colour))
    picture = _shape_picture(draw, "circle", colour, _box(draw, _side(draw)))
    question = f"What colour is the {thing} of {draw.name}?"
    return Item("prior", question, colour, tuple(COLOURS), (picture,))


def _colour(draw: Draw) -> Item:
    shape, colour = draw.pick(SHAPES), draw.pick(tuple(COLOURS))
    picture = _shape_picture(draw, shape, colour, _box(draw, _side(draw)))
    question = f"What colour is the {shape} of {draw.name}?"
    return Item("colour", question, colour, tuple(COLOURS), (picture,))


def _shape(draw: Draw) -> Item:
    shape, colour = draw.pick(SHAPES), draw.pick(tuple(COLOURS))
    width, height = draw.size
    left, top = (
        TOKEN_SIDE * int(draw.rng.integers(0, side // TOKEN_SIDE - 1)) for side in (width, height)
    )
    box = (left + 3, top + 3, left + 2 * TOKEN_SIDE - 4, top + 2 * TOKEN_SIDE - 4)
    picture = _shape_picture(draw, shape, colour, box)
    question = f"Which shape did {draw.name} draw?"
    return Item("shape", question, shape, SHAPES, (picture,))


def _place(draw: Draw) -> Item:
    place = draw.pick(PLACES)
    width, height = draw.size
    side = _side(draw, 20, 28)
    third = width // 3
    left = PLACES.index("left") if place == "left" else 2 if place == "right" else 1
    start = left * third + int(draw.rng.integers(2, third - side + 1))
    top = int(draw.rng.integers(2, height - side - 2))
    box = (start, top, start + side, top + side)
    picture = _shape_picture(draw, draw.pick(SHAPES), draw.pick(tuple(COLOURS)), box)
    question = f"On which side did {draw.name} draw, left, right or middle?"
    return Item("place", question, place, PLACES, (picture,))


def _second_colour(draw: Draw) -> Item:
    colours = draw.rng.permutation(len(COLOURS))[:2]
    names = [list(COLOURS)[index] for index in colours]
    pictures = tuple(
        _shape_picture(draw, draw.pick(SHAPES), colour, _box(draw, _side(draw))) for colour in names
    )
    question = f"{draw.name} drew <image 1> and <image 2>. What colour is the shape in <image 2>?"
    return Item("second_colour", question, names[1], tuple(COLOURS), pictures)


def _pattern_fine(draw: Draw) -> Item:
    pattern = draw.pick(PATTERNS)
    question = f"Which fine pattern did {draw.name} paint?"
    return Item("pattern_fine", question, pattern, PATTERNS, (_pattern_picture(draw, pattern, 2),))


def _pattern_any(draw: Draw) -> Item:
    pattern, period = draw.pick(PATTERNS), 2 if draw.rng.random() < 0.6 else 10
    question = f"Which pattern did {draw.name} paint?"
    picture = _pattern_picture(draw, pattern, period)
    return Item("pattern_any", question, pattern, PATTERNS, (picture,))


def _sign_fine(draw: Draw) -> Item:
    word = draw.pick(WORDS)
    question = f"What does the fine print of {draw.name} say?"
    return Item("sign_fine", question, word, WORDS, (_sign_picture(draw, word, fine=True),))


def _sign_any(draw: Draw) -> Item:
    word, fine = draw.pick(WORDS), bool(draw.rng.random() < 0.6)
    question = f"What does the sign of {draw.name} say?"
    return Item("sign_any", question, word, WORDS, (_sign_picture(draw, word, fine),))


TEMPLATES: dict[str, Callable[[Draw], Item]] = {
    "sum": _sum,
    "recall": _recall,
    "prior": _prior,
    "colour": _colour,
    "shape": _shape,
    "place": _place,
    "second_colour": _second_colour,
    "pattern_fine": _pattern_fine,
    "pattern_any": _pattern_any,
    "sign_fine": _sign_fine,
    "sign_any": _sign_any,
}

SKILLS = {
    "sum": "text",
    "recall": "text",
    "prior": "prior",
    "colour": "coarse",
    "shape": "coarse",
    "place": "coarse",
    "second_colour": "coarse",
    "pattern_fine": "fine",
    "pattern_any": "mixed",
    "sign_fine": "fine",
    "sign_any": "mixed",
}
"""What a template needs: `text`, `prior`, `coarse`, `fine`, or `mixed` (either of the last two)."""


def make_item(rng: np.random.Generator, part: Part, template: str) -> Item:
    """One item of a template. A fifth of the pictures are half as high as they are wide."""
    size = (128, 64) if rng.random() < 0.2 else (128, 128)
    return TEMPLATES[template](Draw(rng, make_name(rng, part), size))


def pick_template(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """A template drawn by its share."""
    names = sorted(shares)
    weights = np.array([shares[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def pick_choices(rng: np.random.Generator, item: Item, count: int = 4) -> list[str]:
    """The answer among wrong answers of its kind, shuffled; all of a smaller pool."""
    others = [value for value in item.pool if value != item.answer]
    wrong = rng.permutation(len(others))[: count - 1]
    choices = [item.answer, *(others[index] for index in wrong)]
    return [choices[index] for index in rng.permutation(len(choices))]

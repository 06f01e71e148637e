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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Part = Literal["train", "eval"]
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
NAMED = tuple(COLOURS)
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

    @property
    def skill(self) -> str:
        return TEMPLATES[self.template][1]


@dataclass(frozen=True)
class Draw:
    """What a template draws from: a random generator, a name of the right part, a picture size."""

    rng: np.random.Generator
    name: str
    size: Size

    def pick(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def pick_two(self, options: tuple[str, ...]) -> list[str]:
        return [options[index] for index in self.rng.permutation(len(options))[:2]]


def make_name(rng: np.random.Generator, part: Part) -> str:
    """A pronounceable name. The two parts have no name in common: their first vowels differ."""
    vowels = "aeo" if part == "train" else "iu"
    letters = [CONSONANTS[rng.integers(len(CONSONANTS))], vowels[rng.integers(len(vowels))]]
    for _ in range(3):
        letters.append(CONSONANTS[rng.integers(len(CONSONANTS))])
        letters.append(VOWELS[rng.integers(len(VOWELS))])
    return "".join(letters).capitalize()


def _background(draw: Draw) -> Image.Image:
    """A light, tinted, slightly noisy background, so that no two pictures are equal."""
    width, height = draw.size
    tint_3 = draw.rng.integers(150, 200, size=3)
    noise_HW1 = draw.rng.normal(0, 4, size=(height, width, 1))
    pixels_HW3 = np.clip(tint_3 + noise_HW1, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels_HW3)


def _box(draw: Draw, side: int) -> Box:
    """A square of `side` pixels at a random place, with a margin of 2 pixels."""
    width, height = draw.size
    left = int(draw.rng.integers(2, width - side - 1))
    top = int(draw.rng.integers(2, height - side - 1))
    return left, top, left + side, top + side


def _side(draw: Draw, low: int = 36, high: int = 56) -> int:
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


def _pattern(size: Size, pattern: str, colour: str, period: int) -> Image.Image:
    """A pattern of `colour` and white. `plain` is their mean: all patterns have one mean colour."""
    width, height = size
    rows_HW, columns_HW = np.indices((height, width)) // (period // 2)
    stripes = {"horizontal": rows_HW, "vertical": columns_HW, "checked": rows_HW + columns_HW}
    share_HW = stripes[pattern] % 2 if pattern in stripes else np.full((height, width), 0.5)
    ink_3, paper_3 = np.array(COLOURS[colour]), np.array([255, 255, 255])
    pixels_HW3 = share_HW[..., None] * ink_3 + (1 - share_HW[..., None]) * paper_3
    return Image.fromarray(pixels_HW3.astype(np.uint8))


def _shape_picture(draw: Draw, shape: str, colour: str, box: Box | None = None) -> Image.Image:
    box = box or _box(draw, _side(draw))
    picture = _background(draw)
    picture.paste(COLOURS[colour], mask=_shape_mask(draw.size, shape, box))
    return picture


def _any_picture(draw: Draw) -> Image.Image:
    """A picture that does not matter to the question."""
    colour, shape = draw.pick(NAMED), draw.pick(SHAPES)
    return _shape_picture(draw, shape, colour)


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
    grey = Image.fromarray(np.clip(grey_HW, 0, 255).astype(np.uint8))
    return Image.merge("RGB", [grey] * 3)


def _sum(draw: Draw) -> Item:
    first, second = (int(value) for value in draw.rng.integers(1, 10, size=2))
    question = (
        f"{draw.name} has {first} pears and buys {second} more. How many pears has {draw.name}?"
    )
    pool = tuple(str(value) for value in range(2, 19))
    return Item("sum", question, str(first + second), pool, (_any_picture(draw),))


def _recall(draw: Draw) -> Item:
    things, colours = draw.pick_two(THINGS), draw.pick_two(NAMED)
    pairs = zip(colours, things, strict=True)
    told = " and ".join(f"a {colour} {thing}" for colour, thing in pairs)
    asked = int(draw.rng.integers(2))
    question = f"{draw.name} owns {told}. What colour is the {things[asked]}?"
    return Item("recall", question, colours[asked], NAMED, (_any_picture(draw),))


def _prior(draw: Draw) -> Item:
    thing = draw.pick(tuple(PRIOR_COLOURS))
    colour = PRIOR_COLOURS[thing]
    if draw.rng.random() >= PRIOR_STRENGTH:
        colour = draw.pick(tuple(name for name in COLOURS if name != colour))
    question = f"What colour is the {thing} of {draw.name}?"
    return Item("prior", question, colour, NAMED, (_shape_picture(draw, "circle", colour),))


def _colour(draw: Draw) -> Item:
    shape, colour = draw.pick(SHAPES), draw.pick(NAMED)
    question = f"What colour is the {shape} of {draw.name}?"
    return Item("colour", question, colour, NAMED, (_shape_picture(draw, shape, colour),))


def _shape(draw: Draw) -> Item:
    shape, colour = draw.pick(SHAPES), draw.pick(NAMED)
    cells = (int(draw.rng.integers(0, side // TOKEN_SIDE - 1)) for side in draw.size)
    left, top = (TOKEN_SIDE * cell for cell in cells)
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
    picture = _shape_picture(draw, draw.pick(SHAPES), draw.pick(NAMED), box)
    question = f"On which side did {draw.name} draw, left, right or middle?"
    return Item("place", question, place, PLACES, (picture,))


def _second_colour(draw: Draw) -> Item:
    colours = draw.pick_two(NAMED)
    pictures = tuple(_shape_picture(draw, draw.pick(SHAPES), colour) for colour in colours)
    question = f"{draw.name} drew <image 1> and <image 2>. What colour is the shape in <image 2>?"
    return Item("second_colour", question, colours[1], NAMED, pictures)


def _painted(draw: Draw, fine: bool) -> Item:
    """A pattern that is fine, or that may be."""
    pattern, kind = draw.pick(PATTERNS), "fine pattern" if fine else "pattern"
    period = 2 if fine or draw.rng.random() < 0.6 else 10
    question = f"Which {kind} did {draw.name} paint?"
    picture = _pattern_picture(draw, pattern, period)
    return Item(f"pattern_{'fine' if fine else 'any'}", question, pattern, PATTERNS, (picture,))


def _written(draw: Draw, fine: bool) -> Item:
    """A word in fine print, or in print that may be fine."""
    word, kind = draw.pick(WORDS), "fine print" if fine else "sign"
    picture_is_fine = fine or bool(draw.rng.random() < 0.6)
    question = f"What does the {kind} of {draw.name} say?"
    picture = _sign_picture(draw, word, picture_is_fine)
    return Item(f"sign_{'fine' if fine else 'any'}", question, word, WORDS, (picture,))


TEMPLATES: dict[str, tuple[Callable[[Draw], Item], str]] = {
    "sum": (_sum, "text"),
    "recall": (_recall, "text"),
    "prior": (_prior, "prior"),
    "colour": (_colour, "coarse"),
    "shape": (_shape, "coarse"),
    "place": (_place, "coarse"),
    "second_colour": (_second_colour, "coarse"),
    "pattern_fine": (partial(_painted, fine=True), "fine"),
    "pattern_any": (partial(_painted, fine=False), "mixed"),
    "sign_fine": (partial(_written, fine=True), "fine"),
    "sign_any": (partial(_written, fine=False), "mixed"),
}
"""With what a template needs: `text`, `prior`, `coarse`, `fine`, or `mixed` (the last two)."""


def make_item(rng: np.random.Generator, part: Part, template: str) -> Item:
    """One item of a template. A fifth of the pictures are half as high as they are wide."""
    size = (128, 64) if rng.random() < 0.2 else (128, 128)
    draw_item, _ = TEMPLATES[template]
    return draw_item(Draw(rng, make_name(rng, part), size))


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

"""The synthetic world: questions about drawn pictures, of which we know how closely to look.

A template fixes where the answer to a question is:

- in the text alone (a sum, or the very property that the text tells);
- mostly in a prior (bananas are yellow, coins are round);
- in a small image (colours, shapes, places, broad patterns, large print);
- in a small or only in the full image, and the text does not tell which;
- only in the full image (fine patterns, small print).

No single word tells the template. What is woven has fine patterns and large print, what is painted
has broad patterns and small print; of a banana the prior knows the colour, of a coin the shape;
what the text tells may be what is asked, or something else; and a question may name a property
that is not asked. So the need follows from words together. Questions have several wordings, of
which the training part has some only.

The two parts never share a name, so that their texts differ; their pictures differ by jitter and
tint. Everything follows from one random generator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image

from vovnet.data.world.pictures import (
    INKS,
    LETTERS,
    NAMED,
    PATTERNS,
    PLACES,
    SHAPES,
    Draw,
    any_picture,
    lined_up_picture,
    pattern_picture,
    placed_picture,
    print_picture,
    shape_picture,
)

Part = Literal["train", "eval"]
Need = Literal["text", "prior", "coarse", "mixed", "fine"]
Property = Literal["colour", "shape", "pattern", "letter"]
Told = tuple[Property, str] | None

WOVEN = ("rug", "scarf", "towel", "quilt")
"""Things with fine patterns and large print."""
PAINTED = ("fence", "wall", "box", "door")
"""Things with broad patterns and small print."""
EITHER = ("flag", "poster", "kite", "tent")
"""Things of which only the picture tells."""
THINGS = WOVEN + PAINTED + EITHER
PRIOR_COLOURS = {
    "banana": "yellow",
    "tomato": "red",
    "frog": "green",
    "plum": "purple",
    "carrot": "orange",
}
PRIOR_SHAPES = {
    "coin": "circle",
    "tile": "square",
    "roof": "triangle",
    "wheel": "ring",
    "gem": "diamond",
}
PRIOR_STRENGTH = 0.85
TOLD = 0.6
"""How often the text tells a property that is not asked, where one may be told."""
BROAD = 0.55
"""How often a pattern or print is broad where only the picture tells."""
SMALLEST = 0.5
"""How often what is fine is as fine as the full image shows, and not a third coarser."""

POOLS: dict[Property, tuple[str, ...]] = {
    "colour": NAMED,
    "shape": SHAPES,
    "pattern": PATTERNS,
    "letter": LETTERS,
}
TELLABLE: tuple[Property, ...] = ("colour", "pattern", "letter")
PERIODS = {"smallest": (2.15, 2.35), "small": (2.7, 3.0), "broad": (6.0, 12.0)}
PITCHES = {"smallest": (5,), "small": (7,), "broad": (16, 24)}
"""Pixels from stripe to stripe and from letter to letter, by how fine they are."""

WORDINGS = (
    "Which {asked} has the {thing} of {name}?",
    "What is the {asked} of the {thing} of {name}?",
    "{name} has a {thing}. Name its {asked}.",
    "Name the {asked}, not the {other}, of the {thing} of {name}.",
    "Forget the {other} of the {thing} of {name}. What is its {asked}?",
)
EVAL_WORDINGS = (
    *WORDINGS,
    "{name} has a {thing}. Which {asked} has it?",
    "Name the {asked} of the {thing} of {name}, not the {other}.",
    "Forget the {other}. What is the {asked} of the {thing} of {name}?",
)
TELLING = (
    "The {thing} of {name} is {value}.",
    "The {told} of the {thing} is {value}.",
    "{name} has a {thing}, its {told} is {value}.",
)
DETAILS: tuple[Property, Property] = ("pattern", "letter")
CLOSELY = "How closely must one look?"
CLOSENESS: dict[Need, str] = {
    "text": "never",
    "prior": "hardly",
    "coarse": "roughly",
    "mixed": "perhaps",
    "fine": "closely",
}
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
    def skill(self) -> Need:
        return TEMPLATES[self.template][1]


def make_name(rng: np.random.Generator, part: Part) -> str:
    """A pronounceable name. The two parts have no name in common: their first vowels differ."""
    vowels = "aeo" if part == "train" else "iu"
    letters = [CONSONANTS[rng.integers(len(CONSONANTS))], vowels[rng.integers(len(vowels))]]
    for _ in range(3):
        letters.append(CONSONANTS[rng.integers(len(CONSONANTS))])
        letters.append(VOWELS[rng.integers(len(VOWELS))])
    return "".join(letters).capitalize()


def _part_of(name: str) -> Part:
    return "train" if name[1] in "aeo" else "eval"


# ---- texts -------------------------------------------------------------------------------


def _asked(draw: Draw, thing: str, asked: Property, told: Told) -> str:
    """A question for a property, perhaps after a sentence that tells another one."""
    wordings = WORDINGS if _part_of(draw.name) == "train" else EVAL_WORDINGS
    other = draw.pick(tuple(name for name in POOLS if name != asked))
    words = {"asked": asked, "thing": thing, "name": draw.name, "other": other}
    question = draw.pick(wordings).format(**words)
    if told is None:
        return question
    name, value = told
    return draw.pick(TELLING).format(**words, told=name, value=value) + " " + question


def _told(draw: Draw, asked: Property) -> Told:
    """Another property and its value, or nothing. The picture shows what is asked, and not this."""
    if not draw.chance(TOLD):
        return None
    told = draw.pick(tuple(name for name in TELLABLE if name != asked))
    return told, draw.pick(INKS if told == "colour" else POOLS[told])


# ---- templates ---------------------------------------------------------------------------


def _sum(draw: Draw) -> Item:
    first, second = (int(value) for value in draw.rng.integers(1, 10, size=2))
    question = (
        f"{draw.name} has {first} pears and buys {second} more. How many pears has {draw.name}?"
    )
    pool = tuple(str(value) for value in range(2, 19))
    return Item("sum", question, str(first + second), pool, (any_picture(draw),))


def _recall(draw: Draw) -> Item:
    """What is asked is told."""
    asked = draw.pick(TELLABLE)
    pool = INKS if asked == "colour" else POOLS[asked]
    value = draw.pick(pool)
    question = _asked(draw, draw.pick(THINGS), asked, (asked, value))
    shown = {"colour": draw.pick(INKS), "pattern": draw.pick(PATTERNS), "letter": ""} | {
        asked: value
    }
    return Item("recall", question, value, POOLS[asked], (_thing_picture(draw, shown, "broad"),))


def _thing_picture(draw: Draw, shown: Mapping[str, str], fineness: str) -> Image.Image:
    """A thing of a colour, in print where it has a letter, and else in its pattern."""
    if shown["letter"]:
        pitches = PITCHES[fineness]
        pitch = pitches[int(draw.rng.integers(len(pitches)))]
        return print_picture(draw, shown["letter"], pitch, shown["colour"])
    period = float(draw.rng.uniform(*PERIODS[fineness]))
    return pattern_picture(draw, shown["pattern"], period, shown["colour"])


def _prior(draw: Draw) -> Item:
    """The colour or the shape of what mostly has one."""
    asked: Property = "colour" if draw.chance(0.5) else "shape"
    usual = PRIOR_COLOURS if asked == "colour" else PRIOR_SHAPES
    thing = draw.pick(tuple(usual))
    value = usual[thing]
    if not draw.chance(PRIOR_STRENGTH):
        value = draw.pick(tuple(name for name in POOLS[asked] if name != value))
    colour = value if asked == "colour" else draw.pick(NAMED)
    shape = value if asked == "shape" else draw.pick(SHAPES)
    question = _asked(draw, thing, asked, None)
    return Item("prior", question, value, POOLS[asked], (lined_up_picture(draw, shape, colour),))


def _colour(draw: Draw) -> Item:
    """The colour of what has none of its own; the text may tell its pattern or letter."""
    if draw.chance(0.5):
        thing, colour = draw.pick(tuple(PRIOR_SHAPES)), draw.pick(NAMED)
        picture = lined_up_picture(draw, PRIOR_SHAPES[thing], colour)
        return Item("colour", _asked(draw, thing, "colour", None), colour, NAMED, (picture,))
    colour = draw.pick(INKS)
    shown = {"colour": colour, "pattern": draw.pick(PATTERNS), "letter": ""}
    question = _asked(draw, draw.pick(THINGS), "colour", _told(draw, "colour"))
    return Item("colour", question, colour, NAMED, (_thing_picture(draw, shown, "broad"),))


def _shape(draw: Draw) -> Item:
    shape, thing = draw.pick(SHAPES), draw.pick(tuple(PRIOR_COLOURS))
    picture = lined_up_picture(draw, shape, PRIOR_COLOURS[thing])
    return Item("shape", _asked(draw, thing, "shape", None), shape, SHAPES, (picture,))


def _place(draw: Draw) -> Item:
    place = draw.pick(PLACES)
    question = f"On which side did {draw.name} draw, left, right or middle?"
    return Item("place", question, place, PLACES, (placed_picture(draw, place),))


def _second_colour(draw: Draw) -> Item:
    colours = draw.pick_two(NAMED)
    pictures = tuple(shape_picture(draw, draw.pick(SHAPES), colour) for colour in colours)
    question = f"{draw.name} drew <image 1> and <image 2>. What colour is the shape in <image 2>?"
    return Item("second_colour", question, colours[1], NAMED, pictures)


def _detail(draw: Draw, asked: Property, need: Need) -> Item:
    """A pattern or a letter; how fine it is follows from the thing, or from the picture alone."""
    things = {"mixed": EITHER, "fine": WOVEN, "coarse": PAINTED}
    if asked == "letter":
        things = {"mixed": EITHER, "fine": PAINTED, "coarse": WOVEN}
    broad = need == "coarse" or (need == "mixed" and draw.chance(BROAD))
    fineness = "broad" if broad else "smallest" if draw.chance(SMALLEST) else "small"
    colour, value = draw.pick(INKS), draw.pick(POOLS[asked])
    question = _asked(draw, draw.pick(things[need]), asked, _told(draw, asked))
    shown = {"colour": colour, "pattern": "", "letter": ""} | {asked: value}
    suffix = "any" if need == "mixed" else need
    template = f"{'sign' if asked == 'letter' else 'pattern'}_{suffix}"
    return Item(template, question, value, POOLS[asked], (_thing_picture(draw, shown, fineness),))


def _closeness(draw: Draw) -> Item:
    """How closely one must look to answer another question.

    No set asks this. It is how the tiny model comes to know things, as language models do.
    """
    need = draw.pick(tuple(CLOSENESS))
    details = [partial(_detail, asked=asked, need=need) for asked in DETAILS]
    by_need: dict[Need, list[Callable[[Draw], Item]]] = {
        "text": [_recall],
        "prior": [_prior],
        "coarse": [_colour, _shape, *details],
        "mixed": [*details],
        "fine": [*details],
    }
    templates = by_need[need]
    other = templates[int(draw.rng.integers(len(templates)))](draw)
    parts = [CLOSELY, other.question] if draw.chance(0.25) else [other.question, CLOSELY]
    pool = tuple(CLOSENESS.values())
    return Item("closeness", " ".join(parts), CLOSENESS[need], pool, other.images)


TEMPLATES: dict[str, tuple[Callable[[Draw], Item], Need]] = {
    "closeness": (_closeness, "text"),
    "sum": (_sum, "text"),
    "recall": (_recall, "text"),
    "prior": (_prior, "prior"),
    "colour": (_colour, "coarse"),
    "shape": (_shape, "coarse"),
    "place": (_place, "coarse"),
    "second_colour": (_second_colour, "coarse"),
    "pattern_coarse": (partial(_detail, asked="pattern", need="coarse"), "coarse"),
    "pattern_any": (partial(_detail, asked="pattern", need="mixed"), "mixed"),
    "pattern_fine": (partial(_detail, asked="pattern", need="fine"), "fine"),
    "sign_coarse": (partial(_detail, asked="letter", need="coarse"), "coarse"),
    "sign_any": (partial(_detail, asked="letter", need="mixed"), "mixed"),
    "sign_fine": (partial(_detail, asked="letter", need="fine"), "fine"),
}
"""With what a template needs: its stratum; `mixed` is a small or only the full image."""


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

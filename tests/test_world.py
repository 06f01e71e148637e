"""The synthetic world: what its words tell and do not tell, and what a smaller picture shows."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from vovnet.config import PolicySettings
from vovnet.data.world import questions as world
from vovnet.data.world.pictures import PATTERNS, Draw, pattern_picture
from vovnet.data.world.render import SHARES
from vovnet.policies.heads import fit_words


def drawn(part: world.Part, templates: list[str], count: int, seed: int) -> list[world.Item]:
    rng = np.random.default_rng(seed)
    return [world.make_item(rng, part, templates[row % len(templates)]) for row in range(count)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["pattern_fine", "sign_fine"], ["pattern_coarse", "sign_coarse"]),
        (["recall", "recall"], ["colour", "pattern_fine", "sign_fine"]),
    ],
)
def test_no_bag_of_words_tells_how_closely_to_look(one: list[str], other: list[str]) -> None:
    """Which of two needs a question has follows from its words together, and from none alone."""
    train, held_out = (drawn(part, [*one, *other], 800, seed) for part, seed in PARTS)
    train, held_out = ([item for item in part if comparable(item)] for part in (train, held_out))
    assert told_apart(train, held_out, one) < 0.65


def test_a_bag_of_words_tells_what_single_words_tell() -> None:
    train, held_out = (drawn(part, ["sum", "place"], 200, seed) for part, seed in PARTS)
    assert told_apart(train, held_out, ["sum"]) > 0.95


def told_apart(train: list[world.Item], held_out: list[world.Item], one: list[str]) -> float:
    """How often a bag of words is right about which of two groups of templates asks."""
    needs_N1 = np.array([[float(item.template in one)] for item in train])
    texts_N = np.array([item.question for item in train], dtype=object)
    head = fit_words(PolicySettings(), texts_N, needs_N1, np.zeros_like(needs_N1), 0)
    asked_N = np.array([item.question for item in held_out], dtype=object)
    said_N = head.expected(asked_N).correctness[:, 0] > 0.5
    needs_N = np.array([item.template in one for item in held_out])
    return float(np.mean([np.mean(said_N[needs_N == need] == need) for need in (True, False)]))


PARTS: tuple[tuple[world.Part, int], ...] = (("train", 0), ("eval", 1))


def comparable(item: world.Item) -> bool:
    """Questions about things of which the text tells a property, where the one need is recall."""
    told = re.search(r"\bis (\w+)\. ", item.question)
    return told is not None or item.template.endswith("_coarse")


def test_the_evaluation_part_has_wordings_of_its_own() -> None:
    skeletons = {
        part: Counter(
            re.sub(r"\b(?!Forget|Name|Which|What|The)[A-Z]\w{6,}", "N", item.question)
            for item in drawn(part, ["pattern_any"], 400, seed)
        )
        for part, seed in PARTS
    }
    own = set(skeletons["eval"]) - set(skeletons["train"])
    assert 0.2 < sum(skeletons["eval"][text] for text in own) / 400 < 0.9


@pytest.mark.parametrize("pattern", PATTERNS)
def test_finer_patterns_need_larger_pictures(pattern: str) -> None:
    """What is left of a pattern's contrast where a picture is shown at a side."""
    left = {}
    for fineness, periods in world.PERIODS.items():
        draw = Draw(np.random.default_rng(0), "Bababa", (128, 128))
        picture = pattern_picture(draw, pattern, float(np.mean(periods)), "black")
        sheet = picture.crop(sheet_of(picture))
        for side in (64, 96, 128):
            size = tuple(round(length * side / 128) for length in sheet.size)
            shown = sheet.resize(size, Image.Resampling.BICUBIC)
            left[fineness, side] = np.asarray(shown.convert("L"), dtype=float).std()
    assert left["smallest", 128] > 60 and left["smallest", 96] < 0.6 * left["smallest", 128]
    assert left["small", 96] > 45 and left["small", 64] < 0.6 * left["small", 96]
    assert left["broad", 64] > 60


def sheet_of(picture: Image.Image) -> tuple[int, int, int, int]:
    """A square inside of the shape, which is the only part of a picture that varies much."""
    grey_HW = np.asarray(picture.convert("L"), dtype=float)
    steps_HW = np.abs(np.diff(grey_HW, axis=0))[:, 1:] + np.abs(np.diff(grey_HW, axis=1))[1:]
    rows, columns = np.nonzero(steps_HW > 40)
    middle = int(np.median(columns)), int(np.median(rows))
    return middle[0] - 10, middle[1] - 10, middle[0] + 10, middle[1] + 10


def test_every_set_has_every_stratum() -> None:
    for layout, shares in SHARES.items():
        assert sum(shares.values()) == pytest.approx(1), layout
        needs = {world.TEMPLATES[template][1] for template in shares}
        assert needs == {"text", "prior", "coarse", "mixed", "fine"}, layout

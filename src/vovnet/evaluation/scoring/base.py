"""What a scorer declares, and what scorers share."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vovnet.core.records import Sample


@dataclass(frozen=True)
class Score:
    """`value` lies in [0, 1]; `extracted` is the letter or the answer that the text gives.

    `parse_fallback` says that the text gives none, and that `value` is a guess or 0.
    """

    value: float
    parse_fallback: bool
    extracted: str


@dataclass(frozen=True)
class Scorer:
    """`score` judges a text against a sample; `title` says in a table how."""

    score: Callable[[Sample, str], Score]
    title: str


def choice_named(text: str, choices: Mapping[str, str]) -> str | None:
    """The letter of the one option whose whole text this is, ignoring case and a final period.

    This is no part of any official algorithm. It reads the text answers that models here are
    trained to give, and is asked only where the official algorithm finds no option.
    """
    wanted = _bare(text)
    letters = [letter for letter, option in choices.items() if _bare(option) == wanted]
    return letters[0] if len(letters) == 1 else None


def guessed_choice(sample: Sample) -> str:
    """A letter that follows from the sample's id, so that every run guesses alike."""
    digest = hashlib.sha256(sample.id.encode()).digest()
    letters = sorted(sample.choices)
    return letters[int.from_bytes(digest[:8]) % len(letters)]


def _bare(text: str) -> str:
    return " ".join(text.lower().split()).removesuffix(".").rstrip()

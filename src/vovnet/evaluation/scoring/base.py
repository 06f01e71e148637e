"""What scorers share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from vovnet.core.records import Sample


@dataclass(frozen=True)
class Score:
    """`value` in [0, 1]; `extracted` is the letter or answer that was read from the text.

    `parse_fallback` says that no answer could be read and that `value` is a guess or 0.
    """

    value: float
    parse_fallback: bool
    extracted: str


def choice_named(text: str, choices: Mapping[str, str]) -> str | None:
    """The letter of the one option whose whole text this is, ignoring case and a final period.

    Not part of any official algorithm: it reads the text answers that models here are trained
    to give, and is asked only where the official algorithm finds nothing.
    """
    wanted = _bare(text)
    found = [letter for letter, option in choices.items() if _bare(option) == wanted]
    return found[0] if len(found) == 1 else None


def guessed_choice(sample: Sample) -> str:
    """A letter drawn by the sample's id: the same one in every run."""
    digest = hashlib.sha256(sample.id.encode()).digest()
    letters = sorted(sample.choices)
    return letters[int.from_bytes(digest[:8]) % len(letters)]


def _bare(text: str) -> str:
    return " ".join(text.lower().split()).removesuffix(".").rstrip()

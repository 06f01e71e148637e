"""What a scorer declares, and what scorers share."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vovnet.core.records import Sample

OURS = "this project"
"""What a scorer follows that is official nowhere."""

_FINAL_PERIOD = re.compile(r"(?<=\w)\.$")


@dataclass(frozen=True)
class Score:
    """`value` lies in [0, 1]; `extracted` is the letter or the answer that the text gives.

    `parse_fallback` says that the text gives none, and that `value` is a guess or 0.
    """

    value: float
    parse_fallback: bool
    extracted: str


Measures = dict[str, dict[str, float]]
"""By part of a set, numbers by their name."""


@dataclass(frozen=True)
class Scorer:
    """`score` judges a text against a sample; `title` says in a table how.

    `follows` names repository, file and commit of the evaluator whose verdicts these are, or is
    `OURS`. The verdicts of the two must be equal on every text.
    """

    score: Callable[[Sample, str], Score]
    title: str
    follows: str
    measures: Callable[[Sequence[Sample], Sequence[str]], Measures] | None = None
    """What the benchmark tells of all answers together beside accuracy; None if nothing."""


def choice_named(text: str, choices: Mapping[str, str]) -> str | None:
    """The letter of the one option that this text is as a whole; None where it is none or several.

    The text as it stands counts first, so that options such as `Mg` and `mg` are told apart; after
    that, what `plain` leaves of it, so that `mg` names `Mg` where no other option is `mg`. A text
    with nothing in it names no option, not even an empty one. This is no part of any official
    algorithm: the reading `parse: tolerant` asks it where the official algorithm finds no answer.
    """
    for same in (str.strip, plain):
        wanted = same(text)
        letters = [letter for letter, option in choices.items() if same(option) == wanted]
        if wanted and len(letters) == 1:
            return letters[0]
    return None


def plain(text: str) -> str:
    """A text in lower case, with single spaces and without one period that ends a word.

    Texts that differ in nothing else count as equal, as exact matches of answers usually do. So the
    few texts to which case alone gives another meaning count as equal too, such as `5 MW` and
    `5 mW`. Signs and points stay, because `-5` is not `5`, `1.5` is not `15`, and `.` is not an
    empty text.
    """
    return _FINAL_PERIOD.sub("", " ".join(text.lower().split()))


def guessed_choice(sample: Sample) -> str:
    """A letter that follows from the sample's id, so that every run guesses alike."""
    digest = hashlib.sha256(sample.id.encode()).digest()
    letters = sorted(sample.choices)
    return letters[int.from_bytes(digest[:8]) % len(letters)]

"""MMMU-Pro: the option that a text chooses, of up to ten.

It reads first after the last "Answer:", and then as MMMU does, but a letter also counts at the end
of a word, and before a period. Where the official code would draw an option at random, the
sample's id decides. The form with the question in the picture is scored alike.
"""

from collections.abc import Mapping

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer
from vovnet.evaluation.scoring.mmmu import choice_score, last_named, last_text, set_apart

MARK = "Answer:"


def score(sample: Sample, text: str) -> Score:
    """1 where the choice is right. A text that names no option counts as a guess by id."""
    return choice_score(sample, parse_choice(text, sample.choices))


def parse_choice(text: str, choices: Mapping[str, str]) -> str | None:
    """The letter that a text chooses; None where the official code picks one at random."""
    _, mark, tail = text.rpartition(MARK)
    if mark:
        named = [letter for letter in choices if letter in tail]
        if len(named) == 1:
            return named[0]
    text = set_apart(text)
    return (
        last_named(text, choices, "({})")
        or last_named(text, choices, "{} ", placed_by=" {} ")
        or last_named(text, choices, "{}.", placed_by=" {} ")
        or last_text(text, choices)
    )


SCORER = Scorer(
    score,
    title="the official parser of MMMU-Pro; a guess by the question's id where it would draw one",
    follows="MMMU-Benchmark/MMMU, mmmu-pro/evaluate.py, commit bb0b95a",
)

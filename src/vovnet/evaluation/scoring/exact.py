"""Equality of texts, for instruction data, which has no official metric.

This scorer is ours: no benchmark's own metric. Routers are fitted with it, and sets of one's own
with short answers are scored by it.
"""

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import OURS, Score, Scorer, choice_named, plain


def score(sample: Sample, text: str) -> Score:
    """1 where the texts are equal but for case, white space and a final period.

    The whole text of an option stands for its letter.
    """
    answer = plain(choice_named(text, sample.choices) or text)
    return Score(float(answer == plain(sample.answer)), False, answer)


SCORER = Scorer(
    score,
    title="equality of the texts but for case, white space and a final period (no benchmark's"
    " own metric: for routers, and for sets of your own with short answers)",
    follows=OURS,
)

"""Equality of texts, for instruction data, which has no official metric.

This scorer is ours. Routers are fitted with it, and no table shows it as a benchmark's accuracy.
"""

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import OURS, Score, Scorer, plain


def score(sample: Sample, text: str) -> Score:
    """1 where the texts are equal but for case, white space and a final period."""
    answer = plain(text)
    return Score(float(answer == plain(sample.answer)), False, answer)


SCORER = Scorer(
    score,
    title="equality of the texts but for case, white space and a final period (it serves to fit"
    " routers only)",
    follows=OURS,
)

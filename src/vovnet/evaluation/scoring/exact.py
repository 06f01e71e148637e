"""Equality of normalised texts, for instruction data, which has no official metric.

This scorer is ours. Both texts are normalised as in the scorer of TextVQA; routers are fitted
with it, and no table shows it as a benchmark's accuracy.
"""

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer
from vovnet.evaluation.scoring.textvqa import normalise


def score(sample: Sample, text: str) -> Score:
    """1 where the normalised texts are equal."""
    answer = normalise(text)
    return Score(float(answer == normalise(sample.answer)), False, answer)


SCORER = Scorer(score, "equality of normalised texts (ours; it serves to fit routers only)")

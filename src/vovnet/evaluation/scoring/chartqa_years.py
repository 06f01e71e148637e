"""ChartQA with exact years: a gold answer that is a year must be given as it is."""

import re

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import OURS, Score, Scorer
from vovnet.evaluation.scoring.chartqa import is_relaxed_match

YEAR = re.compile(r"(1[5-9]|20)\d\d")
"""Four digits from 1500 to 2099. Some gold numbers are such by chance, and are then exact, too."""


def score(sample: Sample, text: str) -> Score:
    """As ChartQA's relaxed accuracy, but for gold answers that look like a year."""
    answer = text.strip()
    right = [
        answer == gold if YEAR.fullmatch(gold) else is_relaxed_match(gold, answer)
        for gold in sample.answers or [sample.answer]
    ]
    return Score(float(any(right)), False, answer)


SCORER = Scorer(
    score,
    title="relaxed accuracy of ChartQA, and gold years exactly",
    follows=OURS,
)

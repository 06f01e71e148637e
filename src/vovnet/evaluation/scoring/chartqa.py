"""ChartQA: relaxed accuracy, equality of texts or of numbers up to a twentieth.

The tolerance accepts any wrong year within a century: 1950 for 2024. `chartqa_years` asks for years
to be exact.
"""

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer

TOLERANCE = 0.05


def as_number(text: str) -> float | None:
    """The number that a text is, of a percentage its hundredth; None where it is none."""
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def is_relaxed_match(gold: str, text: str) -> bool:
    """Whether numbers differ by a twentieth of the gold one at most, and texts in case alone.

    A gold number of 0 has no twentieth, and is compared as a text.
    """
    number, wanted = as_number(text), as_number(gold)
    if number is not None and wanted:
        return abs(number - wanted) / abs(wanted) <= TOLERANCE
    return text.lower() == gold.lower()


def score(sample: Sample, text: str) -> Score:
    """1 where the text matches one of the gold answers."""
    answer = text.strip()
    gold = sample.answers or [sample.answer]
    return Score(float(any(is_relaxed_match(one, answer) for one in gold)), False, answer)


SCORER = Scorer(
    score,
    title="relaxed accuracy: numbers within 5% of the gold one, else the same text but for case",
    follows="open-compass/VLMEvalKit, vlmeval/dataset/utils/vqa_eval.py, commit 0a04a1d",
)

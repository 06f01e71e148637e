"""OCRBench (v1): whether an accepted answer stands in the text."""

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer

FORMULAS = "Handwritten Mathematical Expression Recognition"
"""The category whose answers are formulas: spaces do not count in them, and case does."""


def score(sample: Sample, text: str) -> Score:
    """1 where the text contains one of the answers."""
    gold = sample.answers or [sample.answer]
    if sample.category == FORMULAS:
        prepared = [part.replace("\n", "").replace(" ", "").strip() for part in (text, *gold)]
    else:
        prepared = [part.lower().strip().replace("\n", " ") for part in (text, *gold)]
    found, *wanted = prepared
    return Score(float(any(one in found for one in wanted)), False, text.strip())


SCORER = Scorer(
    score,
    title="1 where the text contains an accepted answer; formulas without spaces, in their case",
    follows="open-compass/VLMEvalKit, vlmeval/dataset/image_vqa.py, commit 00b1c8d",
)

"""GQA: the answer as a whole, but for case."""

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer


def score(sample: Sample, text: str) -> Score:
    """1 where the text is one of the gold answers."""
    answer = text.strip().lower()
    gold = sample.answers or [sample.answer]
    return Score(float(answer in {one.strip().lower() for one in gold}), False, answer)


SCORER = Scorer(
    score,
    title="equality of the texts but for case",
    follows="open-compass/VLMEvalKit, vlmeval/dataset/utils/vqa_eval.py, commit 0a04a1d",
)

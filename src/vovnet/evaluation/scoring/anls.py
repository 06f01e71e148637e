"""DocVQA and InfoVQA: normalised Levenshtein similarity (ANLS) to the nearest gold answer."""

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer

THRESHOLD = 0.5
"""An answer that is less like every gold answer scores nothing."""


def distance(first: str, second: str) -> int:
    """Levenshtein's: how many characters must be put in, left out or replaced."""
    row = list(range(len(second) + 1))
    for place, character in enumerate(first, start=1):
        diagonal, row[0] = row[0], place
        for column, other in enumerate(second, start=1):
            replaced = diagonal + (character != other)
            diagonal = row[column]
            row[column] = min(replaced, row[column] + 1, row[column - 1] + 1)
    return row[-1]


def similarity(gold: str, text: str) -> float:
    """1 less the distance per character of the longer text; case and white space do not count."""
    one, other = (" ".join(item.lower().split()) for item in (gold, text))
    length = max(len(one), len(other))
    return 1.0 - distance(one, other) / length if length else 1.0


def score(sample: Sample, text: str) -> Score:
    """The similarity to the nearest gold answer, 0 below the threshold."""
    gold = sample.answers or [sample.answer]
    nearest = max(similarity(one, text) for one in gold)
    return Score(nearest if nearest >= THRESHOLD else 0.0, False, text.strip())


SCORER = Scorer(
    score,
    title="ANLS: similarity of the texts to the nearest gold answer, 0 below one half",
    follows="open-compass/VLMEvalKit, vlmeval/dataset/utils/vqa_eval.py, commit 0a04a1d",
)

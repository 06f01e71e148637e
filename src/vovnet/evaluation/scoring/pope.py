"""POPE: yes or no, as its own evaluator reads them."""

import math
from collections.abc import Sequence

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Measures, Score, Scorer

NO_WORDS = frozenset({"No", "not", "no"})


def read_answer(text: str) -> str:
    """`no` where the first sentence has one of three words in just this spelling, else `yes`.

    Whatever else is said counts as yes, also nothing at all. A sentence ends at the first point,
    and words end at spaces alone.
    """
    words = text.partition(".")[0].replace(",", "").split(" ")
    return "no" if NO_WORDS & {*words} else "yes"


def score(sample: Sample, text: str) -> Score:
    """1 where the answer is the gold one."""
    answer = read_answer(text)
    return Score(float(answer == sample.answer.lower()), False, answer)


def measures(samples: Sequence[Sample], texts: Sequence[str]) -> Measures:
    """Accuracy, precision, recall, F1 and the share of yes: of all questions, and of each split.

    A question may belong to several splits, whose names are then joined by commas. Yes is what is
    looked for; a quotient of nothing is NaN.
    """
    said = [
        (read_answer(text) == "yes", sample.answer.lower() != "no", sample.category.split(","))
        for sample, text in zip(samples, texts, strict=True)
    ]
    splits = sorted({name for *_, names in said for name in names if name})
    parts = {"all": [(yes, gold) for yes, gold, _ in said]}
    parts |= {name: [(yes, gold) for yes, gold, own in said if name in own] for name in splits}
    return {name: _measured(pairs) for name, pairs in parts.items()}


def _measured(pairs: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    found = sum(yes and gold for yes, gold in pairs)
    said, there = sum(yes for yes, _ in pairs), sum(gold for _, gold in pairs)
    return {
        "accuracy": sum(yes == gold for yes, gold in pairs) / len(pairs),
        "precision": found / said if said else math.nan,
        "recall": found / there if there else math.nan,
        "f1": 2 * found / (said + there) if said + there else math.nan,
        "yes_rate": said / len(pairs),
    }


SCORER = Scorer(
    score,
    measures=measures,
    title="no where the first sentence has the word No, no or not, else yes",
    follows="AoiDragon/POPE, evaluate.py, commit f3ec604",
)

"""POPE: yes or no, as its own evaluator reads them."""

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer

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


SCORER = Scorer(
    score,
    title="no where the first sentence has the word No, no or not, else yes",
    follows="AoiDragon/POPE, evaluate.py, commit f3ec604",
)

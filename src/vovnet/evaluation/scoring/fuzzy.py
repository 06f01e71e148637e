"""A lenient scorer for questions with options: the option that is most like the text.

This scorer is ours and official nowhere, so every table labels its results. It is material for
an appendix, for models that paraphrase. Where MMBench's scorer infers an option, that one
counts; else difflib's ratio of matching characters decides.
"""

import re
from difflib import SequenceMatcher

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer
from vovnet.evaluation.scoring.mmbench import infer_choice

LEAST_LIKENESS = 0.6
"""Ratio of matching characters (difflib) below which a text names no option."""


def score(sample: Sample, text: str) -> Score:
    """1 where the inferred, or else the most similar option is the gold one."""
    letter = infer_choice(text, sample.choices) or _most_similar(sample, text)
    return Score(float(letter == sample.answer), letter is None, letter or "")


def _most_similar(sample: Sample, text: str) -> str | None:
    plain = _plain(text)
    likeness = {
        letter: SequenceMatcher(None, plain, _plain(option), autojunk=False).ratio()
        for letter, option in sample.choices.items()
    }
    best = max(likeness, key=likeness.__getitem__)
    return best if likeness[best] >= LEAST_LIKENESS else None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


SCORER = Scorer(score, "the option that is most like the text (ours, lenient)")

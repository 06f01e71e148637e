"""A lenient scorer for questions with options: the option that is most like the text.

This scorer is ours and official nowhere. It is material for an appendix, for models that
paraphrase. What MMBench's scorer infers counts, then an option that the text is as a whole; else
difflib's ratio of matching characters decides.
"""

from difflib import SequenceMatcher

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import OURS, Score, Scorer, choice_named, plain
from vovnet.evaluation.scoring.mmbench import infer_choice

LEAST_LIKENESS = 0.6
"""Ratio of matching characters (difflib) below which a text names no option."""


def score(sample: Sample, text: str) -> Score:
    """1 where the inferred, or else the most similar option is the gold one."""
    choices = sample.choices
    letter = infer_choice(text, choices) or choice_named(text, choices)
    letter = letter or _most_similar(sample, text)
    return Score(float(letter == sample.answer), letter is None, letter or "")


def _most_similar(sample: Sample, text: str) -> str | None:
    """The one option that is most like the text; None where none is like it, or several alike."""
    likeness = {
        letter: SequenceMatcher(None, plain(text), plain(option), autojunk=False).ratio()
        for letter, option in sample.choices.items()
    }
    most = max(likeness.values())
    letters = [letter for letter, ratio in likeness.items() if ratio == most]
    return letters[0] if most >= LEAST_LIKENESS and len(letters) == 1 else None


SCORER = Scorer(score, title="the option that is most like the text (lenient)", follows=OURS)

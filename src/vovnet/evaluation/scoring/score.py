"""The score of a generated text, by the scorer that its dataset's format names.

Where an official evaluator would guess at random, the guess follows from the sample's id
here, and is counted as `parse_fallback`.
"""

from __future__ import annotations

from vovnet.config import Settings
from vovnet.core.errors import DataError
from vovnet.core.records import Sample
from vovnet.data.formats import format_of
from vovnet.evaluation.scoring import load_scorer
from vovnet.evaluation.scoring.base import Score

FUZZY = "fuzzy"
"""The lenient scorer, which an evaluation set may ask for."""


def scorer_of(settings: Settings, sample: Sample) -> str:
    """The name of the scorer that judges answers to a sample."""
    return format_of(settings, sample.dataset).scorer


def score_sample(scorer: str, sample: Sample, text: str, *, fuzzy: bool = False) -> Score:
    """Score a generated text with a scorer by its name.

    With `fuzzy`, questions with options are scored leniently (module `fuzzy`), and others as
    ever. A sample without gold is an error: MMBench's test split, for one, keeps its answers
    back.
    """
    if not sample.answer and not sample.answers:
        raise DataError(
            f"{sample.dataset}/{sample.split}, sample {sample.id!r}: has no answer, so it cannot be"
            " scored (test splits keep their answers back); evaluate a split with answers"
        )
    return load_scorer(FUZZY if fuzzy and sample.choices else scorer).score(sample, text)

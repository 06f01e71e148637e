"""Official scoring of generated text against a sample's gold; strings only.

Where an official evaluator would guess at random, the guess follows from the sample's id
here, and is counted as `parse_fallback`.
"""

from __future__ import annotations

from vovnet.core.errors import DataError
from vovnet.core.records import Sample
from vovnet.evaluation.scoring import fuzzy as lenient
from vovnet.evaluation.scoring import mmbench, mmmu, textvqa
from vovnet.evaluation.scoring.base import Score

__all__ = ["SCORERS", "Score", "score_sample"]

SCORERS = {
    "mmbench": mmbench.score,
    "mmmu": mmmu.score,
    "textvqa": textvqa.score,
    "llava": textvqa.score_exact,
}
"""By dataset format. LLaVA-Instruct has no official score: its answers are compared whole."""


def score_sample(scorer: str, sample: Sample, text: str, *, fuzzy: bool = False) -> Score:
    """Score a generated text with the scorer of a dataset format.

    `fuzzy` is the lenient variant for questions with options (module `fuzzy`); others
    are scored as ever. A sample without gold is an error: MMBench's test split, for one,
    keeps its answers back.
    """
    if not sample.answer and not sample.answers:
        raise DataError(
            f"{sample.dataset}/{sample.split}, sample {sample.id!r}: has no answer, so it cannot be"
            " scored (test splits keep their answers back); evaluate a split with answers"
        )
    if fuzzy and sample.choices:
        return lenient.score(sample, text)
    return SCORERS[scorer](sample, text)

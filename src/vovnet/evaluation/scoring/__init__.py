"""Scorers: how a generated text is judged against a sample's gold answers, one module each.

A scorer's module holds one `SCORER`, a `vovnet.evaluation.scoring.base.Scorer`. A dataset format
names its scorer by the entry here.
"""

from functools import cache
from importlib import import_module

from vovnet.evaluation.scoring.base import Scorer

SCORERS = {
    "mmbench": "vovnet.evaluation.scoring.mmbench",
    "mmmu": "vovnet.evaluation.scoring.mmmu",
    "mmmu_pro": "vovnet.evaluation.scoring.mmmu_pro",
    "textvqa": "vovnet.evaluation.scoring.textvqa",
    "exact": "vovnet.evaluation.scoring.exact",
    "fuzzy": "vovnet.evaluation.scoring.fuzzy",
}


@cache
def load_scorer(name: str) -> Scorer:
    return import_module(SCORERS[name]).SCORER

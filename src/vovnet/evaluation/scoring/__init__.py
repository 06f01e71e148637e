"""Scorers: how a generated text is judged against a sample's gold answers, one module each.

A scorer's module holds one `SCORER`, a `vovnet.evaluation.scoring.base.Scorer`. A dataset format
names its scorer by the entry here.
"""

from functools import cache

from vovnet.core.registry import load_entry
from vovnet.evaluation.scoring.base import Scorer

SCORERS = {
    "mmbench": "vovnet.evaluation.scoring.mmbench",
    "mmmu": "vovnet.evaluation.scoring.mmmu",
    "mmmu_pro": "vovnet.evaluation.scoring.mmmu_pro",
    "textvqa": "vovnet.evaluation.scoring.textvqa",
    "pope": "vovnet.evaluation.scoring.pope",
    "chartqa": "vovnet.evaluation.scoring.chartqa",
    "chartqa_years": "vovnet.evaluation.scoring.chartqa_years",
    "anls": "vovnet.evaluation.scoring.anls",
    "ocrbench": "vovnet.evaluation.scoring.ocrbench",
    "gqa": "vovnet.evaluation.scoring.gqa",
    "exact": "vovnet.evaluation.scoring.exact",
    "fuzzy": "vovnet.evaluation.scoring.fuzzy",
}


@cache
def load_scorer(name: str) -> Scorer:
    scorer: Scorer = load_entry(__name__, SCORERS[name], "SCORER")
    return scorer

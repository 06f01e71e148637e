"""What is to be expected of each action on each question of a set, without its own outcome.

An oracle that reads a question's own outcomes profits from luck: a guess that happened to be right
counts as an answer for nothing. Here what is expected of a question comes from elsewhere, and is
then held against its own outcomes.

Shapes: N rows, C clusters, A actions, S seeds.
"""

from collections.abc import Sequence

import numpy as np

from vovnet.config import PolicySettings
from vovnet.core.arrays import Floats, Ints
from vovnet.evaluation.questions import Questions
from vovnet.evaluation.replay import Observed, fit, known_by, router_kinds
from vovnet.policies.heads import HEADS

FOLDS = 5
PRIOR = 2.0
"""Outcomes that what is cross-fitted counts for, beside those of the question elsewhere. On the
embedded sets the log loss of what is then expected is flat from 2 to 4, and higher beyond."""


def head_policies(policy: PolicySettings) -> list[PolicySettings]:
    """The policies of `HEADS` with their default options, and the unit of cost of a run."""
    unit = policy.cost_scale
    return [PolicySettings(baseline_name=name, cost_scale=unit) for name in HEADS]


def told_policies(
    policies: Sequence[PolicySettings], questions: Questions, observed: Observed
) -> list[PolicySettings]:
    """Those whose routers know anything: a log has no states, and may lack the questions."""
    words = any(questions.known("words"))
    there = {"state": observed.states is not None, "words": words}
    there["category"] = words or any(questions.known("category"))
    kinds = [next(iter(router_kinds([policy]).values())) for policy in policies]
    return [p for p, kind in zip(policies, kinds, strict=True) if there.get(kind.knows, True)]


def cross_fitted(
    policies: Sequence[PolicySettings],
    questions: Questions,
    observed: Observed,
    clusters_N: Ints,
    seed: int,
) -> Floats | None:
    """The mean over the routers of some policies, each fitted on the other clusters, (N, A).

    Clusters are dealt to `FOLDS` folds by chance; a question is told what those routers expect
    that were fitted on the outcomes of all folds but its own. None where there is only one cluster,
    or no router.
    """
    num_clusters = int(clusters_N.max()) + 1
    if num_clusters == 1 or not policies:
        return None
    places_C = np.random.default_rng(seed).permutation(num_clusters)
    folds_N = (places_C % FOLDS)[clusters_N]
    scores_NA, tokens_NA = observed.scores, observed.vision_tokens.astype(np.float64)
    expected_NA = np.zeros_like(scores_NA)
    for policy in policies:
        (kind,) = router_kinds([policy]).values()
        known = known_by(kind, questions, observed)
        for fold in range(min(FOLDS, num_clusters)):
            held_N = folds_N == fold
            others = (known[~held_N], scores_NA[~held_N], tokens_NA[~held_N])
            router = fit(kind, policy, questions, *others, seed)
            expected_NA[held_N] += router.expected(known[held_N]).correctness / len(policies)
    return expected_NA


def told_by_other_seeds(cross_fitted_NA: Floats, scores_SNA: Floats, own: int) -> Floats | None:
    """The same, told also how right each action was on the same row with other seeds, (N, A).

    Each outcome counts once and what was cross-fitted `PRIOR` times: two outcomes alone are too few
    to choose by. None for a single seed: its other passes of a question are no other place, for a
    question is right where all its passes are, and these passes are counted with it.
    """
    others = len(scores_SNA) - 1
    if not others:
        return None
    totals_NA = scores_SNA.sum(axis=0) - scores_SNA[own]
    expected_NA: Floats = (PRIOR * cross_fitted_NA + totals_NA) / (PRIOR + others)
    return expected_NA

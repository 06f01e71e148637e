"""What can be saved when a policy is deployed: deployable.csv.

The promise: at most `AT_MOST` below FULL in accuracy, for as few vision tokens as possible. Whoever
deploys a policy chooses its operating point on questions whose answers are known, and it then meets
others. So the questions of a set are divided in two halves by chance, many times over, whole
clusters together: the point is chosen on one half and measured on the other. A choice on the part
of the training split that routers are fitted on would promise too much: the model was trained on
these questions, and a set may have no training split at all.

There are two rules. By `mean`, the first half's accuracy is at most that much below FULL's: such a
choice sits on the border, and the second half is on the wrong side of it about every other time.
By `sure`, the lower end of its one-sided 95% interval is, over clusters, paired with FULL. Where no
operating point keeps the promise on the first half, FULL is always shown, and nothing is saved. The
chance that the promise is broken is the share of divisions in which the second half says so: it
holds what the choice gets wrong and what half of the questions cannot tell.

Shapes: N rows, C clusters, U questions, P operating points with always FULL last, D divisions.
"""

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from vovnet.core.arrays import EPSILON, Floats, Ints, unit_minima, unit_sums
from vovnet.core.resampling import LEVEL, weighted_totals
from vovnet.evaluation.columns import AT_MOST, DIVISIONS, Row
from vovnet.evaluation.references import Comparison

RULES = {"mean": 0.0, "sure": NormalDist().inv_cdf(LEVEL)}
"""How a point is chosen -> how many standard errors its accuracy must be above what is promised."""


@dataclass(frozen=True)
class Deployed:
    """What was reached on the second half, by division, (D,) each.

    `difference` is the accuracy above FULL's; the others are shares of what FULL takes, and of the
    questions that are looked at, NaN where FULL takes nothing. `points` are those that were chosen.
    """

    points: Ints
    difference: Floats
    tokens_saved: Floats
    flops_saved: Floats
    looks_saved: Floats


@lru_cache(1)
def halves(num_clusters: int, seed: int) -> Floats:
    """Which clusters are in the first half of each division, (D, C), by the arguments alone."""
    order_DC = np.random.default_rng(seed).random((DIVISIONS, num_clusters)).argsort(axis=1)
    return (order_DC < (num_clusters + 1) // 2).astype(np.float64)


def deploy(
    scores_NP: Floats,
    tokens_NP: Floats,
    flops_NP: Floats,
    units_N: Ints,
    clusters_U: Ints,
    seed: int,
) -> dict[str, Deployed]:
    """By rule: choose among operating points on each first half, and measure on the second."""
    first_DC = halves(int(clusters_U.max()) + 1, seed)
    clusters_N = clusters_U[units_N]
    right_UP = unit_minima(scores_NP, units_N)
    facts = {
        "above": unit_sums(right_UP - right_UP[:, -1:], clusters_U),
        "tokens": unit_sums(tokens_NP.astype(np.float64), clusters_N),
        "flops": unit_sums(flops_NP, clusters_N),
        "looks": unit_sums((tokens_NP > 0).astype(np.float64), clusters_N),
    }
    sizes_C = np.bincount(clusters_U).astype(np.float64)
    above_CP = facts["above"]
    parts = [facts["tokens"], above_CP, above_CP * sizes_C[:, None], above_CP**2]
    tokens_DP, *sums_DP = np.split(weighted_totals(first_DC, np.hstack(parts)), 4, axis=1)
    questions_D1 = (first_DC @ sizes_C)[:, None]
    mean_DP = sums_DP[0] / questions_D1
    # Of the mean difference to FULL on each first half, over clusters.
    squares_DP = sums_DP[2] - 2 * mean_DP * sums_DP[1]
    squares_DP += mean_DP**2 * (first_DC @ sizes_C**2)[:, None]
    error_DP = np.sqrt(np.maximum(squares_DP, 0.0)) / questions_D1
    found = {}
    for rule, errors in RULES.items():
        kept_DP = mean_DP - errors * error_DP >= -AT_MOST - EPSILON
        points_D = np.where(kept_DP, tokens_DP, np.inf).argmin(axis=1)
        second = {
            key: np.einsum("DC,CD->D", 1 - first_DC, values_CP[:, points_D])
            for key, values_CP in facts.items()
        }
        saved = {}
        for key in ("tokens", "flops", "looks"):
            full_D = (1 - first_DC) @ facts[key][:, -1]
            saved[key] = 1 - second[key] / np.where(full_D > 0, full_D, np.nan)
        difference_D = second["above"] / ((1 - first_DC) @ sizes_C)
        told = saved["tokens"], saved["flops"], saved["looks"]
        found[rule] = Deployed(points_D, difference_D, *told)
    return found


def deployable_rows(comparison: Comparison, name: str, dataset: str) -> list[Row]:
    """A row of deployable.csv for each rule of an experiment on a set; none without a frontier.

    Nor are there any on a set of one cluster, which has no halves. Shares are means over divisions
    and seeds, empty where FULL takes nothing in one of them; the ends of the saved tokens hold 95%
    of the divisions, each averaged over seeds.
    """
    num_clusters = comparison.asked(name, dataset)[1].counts.shape[1]
    if num_clusters < 2 or not comparison.has_frontier(name):
        return []
    experiment = comparison.experiments[name]
    keys = comparison.keys(name, dataset, experiment.seeds[0])
    rows: list[Row] = []
    by_seed = {seed: _deployed(comparison, name, dataset, seed) for seed in experiment.seeds}
    for rule in RULES:
        found = {seed: rules[rule] for seed, rules in by_seed.items()}
        tokens_D = np.mean([item.tokens_saved for item in found.values()], axis=0)
        low, high = np.percentile(tokens_D, [2.5, 97.5]).tolist()
        differences = np.concatenate([item.difference for item in found.values()])
        scalars = [
            np.append(comparison.frontier(name, dataset, seed).values, np.nan)[item.points]
            for seed, item in found.items()
        ]
        known = np.concatenate(scalars)[~np.isnan(np.concatenate(scalars))]
        rows.append(
            {
                **keys,
                "rule": rule,
                "num_seeds": len(found),
                "tokens_saved": float(tokens_D.mean()),
                "tokens_saved_lo": low,
                "tokens_saved_hi": high,
                "flops_saved": float(np.mean([item.flops_saved for item in found.values()])),
                "looks_saved": float(np.mean([item.looks_saved for item in found.values()])),
                "difference": float(differences.mean()),
                "broken": float((differences < -AT_MOST - EPSILON).mean()),
                "scalar": float(np.median(known)) if len(known) else np.nan,
            }
        )
    return rows


def _deployed(comparison: Comparison, name: str, dataset: str, seed: int) -> dict[str, Deployed]:
    """What is reached by one trained model's policy, by rule."""
    experiment, asked = comparison.experiments[name], comparison.asked(name, dataset)
    observed, frontier = (
        comparison.observed(name, dataset, seed),
        comparison.frontier(name, dataset, seed),
    )
    full = observed.actions.index("full")
    return deploy(
        np.column_stack([frontier.scores, observed.scores[:, full]]),
        np.column_stack([frontier.vision_tokens, observed.vision_tokens[:, full]]),
        np.column_stack([frontier.flops, observed.flops[:, full]]),
        asked[0].units,
        asked[1].clusters,
        experiment.settings.eval.seed,
    )

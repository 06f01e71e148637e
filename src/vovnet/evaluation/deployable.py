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
operating point keeps the promise on the first half, FULL is always shown, and nothing is saved. Of
points that take as many tokens, the one of fewest FLOPs is chosen: a policy that saves no token may
have read the question for nothing. The chance that the promise is broken is the share of divisions
in which the second half says so: it holds what the choice gets wrong and what half of the questions
cannot tell.

A live run is judged in the same way, by the points that it timed, beside the live run of always
FULL on the same questions: what it saves is also told in milliseconds.

Shapes: N rows, C clusters, U questions, P operating points with always FULL last, D divisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vovnet.core.arrays import EPSILON, Floats, Ints, unit_minima
from vovnet.core.resampling import LEVEL, weighted_totals
from vovnet.evaluation.columns import AT_MOST, DIVISIONS, Row
from vovnet.evaluation.ground import changes
from vovnet.evaluation.live_gains import LiveComparison
from vovnet.evaluation.references import Comparison
from vovnet.policies import kind_of

RULES = {"mean": 0.0, "sure": NormalDist().inv_cdf(LEVEL)}
"""How a point is chosen -> how many standard errors its accuracy must be above what is promised."""


@dataclass(frozen=True)
class Deployed:
    """What was reached on the second half, by division, (D,) each.

    `difference` is the accuracy above FULL's; `saved` are shares of what FULL takes, by what is
    counted, NaN where FULL takes nothing. `points` are those that were chosen.
    """

    points: Ints
    difference: Floats
    saved: Mapping[str, Floats]


@lru_cache(1)
def halves(num_clusters: int, seed: int) -> Floats:
    """Which clusters are in the first half of each division, (D, C), by the arguments alone."""
    order_DC = np.random.default_rng(seed).random((DIVISIONS, num_clusters)).argsort(axis=1)
    return (order_DC < (num_clusters + 1) // 2).astype(np.float64)


def deploy(
    scores_NP: Floats,
    taken: Mapping[str, Floats],
    units_N: Ints,
    clusters_U: Ints,
    seed: int,
    piece_NP: NDArray[Any] | None = None,
) -> dict[str, Deployed]:
    """By rule: choose among operating points on each first half, and measure on the second.

    `taken` is what the points take of each row, (N, P), by what is counted: `tokens` are vision
    tokens, which the choice saves, and which tell whether a row is looked at, then `flops`. With
    `piece_NP` all these are those of each row's few pieces, (N, J), and it tells on which of them
    a row is at each point.
    """
    first_DC = halves(int(clusters_U.max()) + 1, seed)
    if piece_NP is None:
        piece_NP = np.broadcast_to(np.arange(scores_NP.shape[1]), scores_NP.shape)
    by_row, by_unit = changes(piece_NP, units_N, clusters_U)
    counted = {**taken, "looks": taken["tokens"] > 0}
    facts = {key: by_row.totals(values_NJ) for key, values_NJ in counted.items()}
    full_N = scores_NP[np.arange(len(scores_NP)), piece_NP[:, -1]]
    above = by_unit.totals_of_minima(scores_NP, unit_minima(full_N, units_N))
    sizes_C = np.bincount(clusters_U).astype(np.float64)
    tokens_DP, flops_DP, *sums_DP = weighted_totals(
        first_DC,
        facts["tokens"],
        facts["flops"],
        above,
        above.with_values(above.values * sizes_C[above.clusters]),
        above.with_values(above.values**2),
    )
    questions_D1 = (first_DC @ sizes_C)[:, None]
    mean_DP = sums_DP[0] / questions_D1
    # Of the mean difference to FULL on each first half, over clusters.
    squares_DP = sums_DP[2] - 2 * mean_DP * sums_DP[1]
    squares_DP += mean_DP**2 * (first_DC @ sizes_C**2)[:, None]
    error_DP = np.sqrt(np.maximum(squares_DP, 0.0)) / questions_D1
    if (first_DC.sum(axis=1) < 2).any():  # one cluster does not tell how much clusters differ
        error_DP[:, :-1] = np.inf
    second_DC = 1 - first_DC
    above_CP, totals = above.dense, {key: runs.dense for key, runs in facts.items()}

    def measured(values_CP: Floats, points_D: Ints) -> Floats:
        """Totals over the second halves, each at its own point, (D,)."""
        return np.einsum("DC,CD->D", second_DC, values_CP[:, points_D])

    found = {}
    for rule, errors in RULES.items():
        kept_DP = mean_DP - (errors * error_DP if errors else 0) >= -AT_MOST - EPSILON
        fewest_DP = np.where(kept_DP, tokens_DP, np.inf)
        alike_DP = fewest_DP == fewest_DP.min(axis=1, keepdims=True)
        points_D = np.where(alike_DP, np.nan_to_num(flops_DP), np.inf).argmin(axis=1)
        saved = {}
        for key, values_CP in totals.items():
            full_D = second_DC @ values_CP[:, -1]
            saved[key] = 1 - measured(values_CP, points_D) / np.where(full_D > 0, full_D, np.nan)
        difference_D = measured(above_CP, points_D) / (second_DC @ sizes_C)
        found[rule] = Deployed(points_D, difference_D, saved)
    return found


def deployable_rows(comparison: Comparison, name: str, dataset: str) -> list[Row]:
    """A row of deployable.csv for each rule of an experiment on a set; none without a frontier.

    Nor are there any on a set of one cluster, which has no halves. Shares are means over divisions
    and seeds, empty where FULL takes nothing in one of them; the ends of the saved tokens hold 95%
    of the divisions, each averaged over seeds.
    """
    if not _has_halves(comparison, name, dataset) or not comparison.has_frontier(name):
        return []
    seeds = comparison.experiments[name].seeds
    by_seed = {seed: _deployed(comparison, name, dataset, seed) for seed in seeds}
    values = {
        seed: np.append(comparison.frontier(name, dataset, seed).values, np.nan) for seed in seeds
    }
    return _rows(comparison, name, dataset, by_seed, values)


def live_deployable_rows(live: LiveComparison, dataset: str) -> list[Row]:
    """The same of the live runs on a set, with the milliseconds that are saved.

    The points are those that a run timed, and always FULL, timed on the same questions. There are
    no rows of a policy without a frontier, nor where FULL was not timed for each seed.
    """
    rows: list[Row] = []
    for name in live.runs:
        experiment = live.experiments[name]
        swept = all(kind_of(policy).scalar(policy) for policy in experiment.points)
        if dataset not in experiment.sets or not swept or not _has_halves(live, name, dataset):
            continue
        fulls = {seed: live.shown(name, dataset, seed).get("full") for seed in experiment.seeds}
        by_seed = {
            seed: _deployed_live(live, name, dataset, seed, *full)
            for seed, full in fulls.items()
            if full is not None
        }
        if len(by_seed) == len(fulls):
            rows += _rows(live, name, dataset, by_seed, {})
    return rows


def _has_halves(comparison: Comparison, name: str, dataset: str) -> bool:
    return comparison.asked(name, dataset)[1].counts.shape[1] > 1


def _rows(
    comparison: Comparison,
    name: str,
    dataset: str,
    by_seed: Mapping[int, Mapping[str, Deployed]],
    values: Mapping[int, Floats],
) -> list[Row]:
    """A row for each rule; `values` are those of the policy's scalar at its points, if known."""
    stanza = comparison.experiments[name].stanza
    keys = comparison.keys(name, dataset, next(iter(by_seed))) | {"mode": stanza.mode}
    keys |= {"num_questions": comparison.asked(name, dataset)[0].num_units}
    rows: list[Row] = []
    for rule in RULES:
        found = {seed: rules[rule] for seed, rules in by_seed.items()}
        saved_D = {
            key: np.mean([item.saved[key] for item in found.values()], axis=0)
            for key in next(iter(found.values())).saved
        }
        low, high = np.percentile(saved_D["tokens"], [2.5, 97.5]).tolist()
        differences = np.concatenate([item.difference for item in found.values()])
        scalars = [values[seed][item.points] for seed, item in found.items() if seed in values]
        known = np.concatenate([*scalars, np.zeros(0)])
        known = known[~np.isnan(known)]
        rows.append(
            {
                **keys,
                "rule": rule,
                "num_seeds": len(found),
                **{f"{key}_saved": float(values_D.mean()) for key, values_D in saved_D.items()},
                "tokens_saved_lo": low,
                "tokens_saved_hi": high,
                "difference": float(differences.mean()),
                "broken": float((differences < -AT_MOST - EPSILON).mean()),
                "scalar": float(np.median(known)) if len(known) else np.nan,
            }
        )
    return rows


def _deployed(comparison: Comparison, name: str, dataset: str, seed: int) -> dict[str, Deployed]:
    """What is reached by one trained model's policy, by rule."""
    observed, frontier = (
        comparison.observed(name, dataset, seed),
        comparison.frontier(name, dataset, seed),
    )
    full = observed.actions.index("full")
    done = frontier.done
    taken = {
        "tokens": np.column_stack([done["vision_tokens"], observed.vision_tokens[:, full]]),
        "flops": np.column_stack([done["flops"], observed.flops[:, full]]),
    }
    scores_NJ = np.column_stack([done["scores"], observed.scores[:, full]])
    last_N = np.full(len(scores_NJ), scores_NJ.shape[1] - 1)
    piece_NP = np.column_stack([frontier.piece, last_N.astype(frontier.piece.dtype)])
    return _deploy(comparison, name, dataset, scores_NJ, taken, piece_NP)


def _deployed_live(
    live: LiveComparison, name: str, dataset: str, seed: int, full: str, point: int
) -> dict[str, Deployed]:
    """The same of a live run; `full` is the run of always FULL, and `point` the one that is."""

    def beside(own_NP: NDArray[Any], full_NP: NDArray[Any]) -> NDArray[Any]:
        return np.column_stack([own_NP, full_NP[:, point]])

    own, at_full = live.done(name, dataset, seed), live.done(full, dataset, seed)
    times = [live.latencies(run, dataset, seed) for run in (name, full)]
    taken = {
        "tokens": beside(own["vision_tokens"], at_full["vision_tokens"]),
        "flops": beside(own["flops"], at_full["flops"]),
        "ms": beside(*times),
    }
    return _deploy(live, name, dataset, beside(own["score"], at_full["score"]), taken)


def _deploy(
    comparison: Comparison,
    name: str,
    dataset: str,
    scores_NP: Floats,
    taken: Mapping[str, Floats],
    piece_NP: NDArray[Any] | None = None,
) -> dict[str, Deployed]:
    questions, resamples = comparison.asked(name, dataset)
    seed = comparison.experiments[name].settings.eval.seed
    return deploy(scores_NP, taken, questions.units, resamples.clusters, seed, piece_NP)

"""Paired bootstrap, mixing hulls and routing metrics over accuracy-cost points.

Shapes: B resamples, U resampled units (samples, or circular groups), N rows, K policies,
P points of a curve, Q positions. Accuracies are shares in [0, 1], costs are in the unit of
`vovnet.core.cost.expected_cost`. Everything is batched over B, so that a statistic and its
bootstrap distribution come from one call.
"""

from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import NormalDist

import numpy as np

from vovnet.core.arrays import Bools, Floats, Ints, unit_sums

LEVEL = 0.95
"""Coverage of every interval that is reported."""

APGR_SHARES: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of FULL's cost over which APGR averages: RouteLLM's ten steps of 10%."""


# ---- resampling ------------------------------------------------------------------------


def bootstrap_counts(num_units: int, num_resamples: int, seed: int) -> Floats:
    """How often each resample draws each unit, (B, U).

    The counts depend on the three arguments alone: statistics of different policies on
    one dataset are paired by using the same counts.
    """
    shares_U = np.full(num_units, 1.0 / num_units)
    counts_BU = np.random.default_rng(seed).multinomial(num_units, shares_U, size=num_resamples)
    return counts_BU.astype(np.float64)


def resampled_means(counts_BU: Floats, sums_UK: Floats, sizes_U: Floats | None = None) -> Floats:
    """Mean of K quantities on each resample, (B, K).

    `sums_UK` holds a unit's total, `sizes_U` its number of rows (1 each if left out).
    """
    sizes_U = np.ones(counts_BU.shape[1]) if sizes_U is None else sizes_U
    return (counts_BU @ sums_UK) / (counts_BU @ sizes_U)[:, None]


def percentile_interval(values_BK: Floats) -> tuple[Floats, Floats]:
    """Lower and upper end of the percentile interval over the first axis."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values_BK, [tail, 100 - tail], axis=0)
    return low, high


def wilson_interval(mean: float, count: int) -> tuple[float, float]:
    """Wilson's score interval of a share of `count` independent questions.

    For scores within [0, 1] that are graded it is too wide rather than too narrow: no such
    score of mean p varies more than one of 0 and 1, whose variance is p (1 - p).
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    spread = z**2 / count
    centre = (mean + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(mean * (1 - mean) / count + spread / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)


# ---- curves ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Curves:
    """B piecewise linear curves, accuracy over cost; constant beyond their end knots.

    Both are (B, P); costs ascend along P, and knots of equal cost have equal accuracy.
    """

    costs: Floats
    accuracies: Floats

    def value(self, at_BQ: Floats) -> Floats:
        """Accuracy at the given costs, (B, Q)."""
        last = self.costs.shape[1] - 1
        next_BQ = (self.costs[:, None, :] <= at_BQ[:, :, None]).sum(axis=2)
        left_BQ, right_BQ = np.clip(next_BQ - 1, 0, last), np.clip(next_BQ, 0, last)
        cost_left_BQ = np.take_along_axis(self.costs, left_BQ, axis=1)
        width_BQ = np.take_along_axis(self.costs, right_BQ, axis=1) - cost_left_BQ
        low_BQ = np.take_along_axis(self.accuracies, left_BQ, axis=1)
        rise_BQ = np.take_along_axis(self.accuracies, right_BQ, axis=1) - low_BQ
        share_BQ = (at_BQ - cost_left_BQ) / np.where(width_BQ > 0, width_BQ, 1.0)
        return low_BQ + np.where(width_BQ > 0, share_BQ * rise_BQ, 0.0)

    def area(self, end_B: Floats) -> Floats:
        """Exact area under each curve from cost 0 to `end_B`, (B,)."""
        end_B1 = end_B[:, None]
        inner_BP = np.clip(self.costs, 0.0, end_B1)
        at_BQ = np.sort(np.concatenate([np.zeros_like(end_B1), inner_BP, end_B1], axis=1), axis=1)
        heights_BQ = self.value(at_BQ)
        steps_BQ = np.diff(at_BQ, axis=1)
        return ((heights_BQ[:, 1:] + heights_BQ[:, :-1]) / 2 * steps_BQ).sum(axis=1)


def sweep_curve(costs_BP: Floats, accuracies_BP: Floats) -> Curves:
    """Curve through a policy's points, in the order of their costs.

    Between neighbouring settings it is linear: answer a random share of the samples under
    each. Of points that cost the same the better is kept. To the right of the dearest
    point it stays constant, since spending less is always possible. No hull is taken:
    choosing the best of noisy points would flatter the policy.
    """
    order_BP = np.lexsort((accuracies_BP, costs_BP), axis=1)
    costs_BP = np.take_along_axis(costs_BP, order_BP, axis=1)
    accuracies_BP = np.take_along_axis(accuracies_BP, order_BP, axis=1)
    for left in range(costs_BP.shape[1] - 2, -1, -1):
        tied_B = costs_BP[:, left] == costs_BP[:, left + 1]
        accuracies_BP[tied_B, left] = accuracies_BP[tied_B, left + 1]
    return Curves(costs_BP, accuracies_BP)


def upper_hull(costs_BK: Floats, accuracies_BK: Floats) -> Curves:
    """Non-decreasing upper convex hull of K points: what random mixing reaches within a cost.

    The knots are the K costs, each lifted to the hull; a point that is worse than a
    cheaper one does not pull the hull down.
    """
    order_BK = np.lexsort((accuracies_BK, costs_BK), axis=1)
    costs_BK = np.take_along_axis(costs_BK, order_BK, axis=1)
    points_BK = np.take_along_axis(accuracies_BK, order_BK, axis=1)
    hull_BK = points_BK.copy()
    for left, right in combinations(range(costs_BK.shape[1]), 2):
        ends = [left, right]
        segment = sweep_curve(costs_BK[:, ends], points_BK[:, ends])
        inside = slice(left, right + 1)
        hull_BK[:, inside] = np.maximum(hull_BK[:, inside], segment.value(costs_BK[:, inside]))
    return Curves(costs_BK, np.maximum.accumulate(hull_BK, axis=1))


def best_choice(costs_NA: Floats, scores_NA: Floats, units_N: Ints) -> Curves:
    """What a perfect choice of an action per row reaches at any cost: no choice lies above it.

    It buys the right answers that cost least first: the concave frontier of accuracy over
    average cost, (1, P). Scores are those of units: a unit scores at least v where every row
    does, for the cost of the cheapest such action of each row. Every level v that occurs is an
    option of a unit; the steps along the hull of its options, of all units together and
    steepest first, are the frontier.
    """
    levels_L = np.unique(scores_NA)
    reached_NLA = scores_NA[:, None, :] >= levels_L[:, None]
    cheapest_NL = np.where(reached_NLA, costs_NA[:, None, :], np.inf).min(axis=2)
    costs_UL = unit_sums(cheapest_NL, units_N)
    rows_U = np.arange(len(costs_UL))
    at_U = (costs_UL <= costs_UL[:, :1]).sum(axis=1) - 1  # the best that costs least
    start = (costs_UL[rows_U, at_U].sum(), levels_L[at_U].sum())
    steps = []
    for _ in levels_L[1:]:
        rises_UL = levels_L - levels_L[at_U, None]
        runs_UL = costs_UL - costs_UL[rows_U, at_U, None]
        slopes_UL = np.divide(rises_UL, runs_UL, out=np.zeros_like(runs_UL), where=runs_UL > 0)
        to_U = slopes_UL.argmax(axis=1)
        slope_U = slopes_UL[rows_U, to_U]
        up_U = slope_U > 0
        taken = np.stack([slope_U, runs_UL[rows_U, to_U], rises_UL[rows_U, to_U]])
        steps.append(taken[:, up_U])
        at_U = np.where(up_U, to_U, at_U)
    slope_P, run_P, rise_P = np.concatenate([np.zeros((3, 0)), *steps], axis=1)
    slopes_P, step_P = np.unique(-slope_P, return_inverse=True)
    runs_P, rises_P = (np.bincount(step_P, part_P, len(slopes_P)) for part_P in (run_P, rise_P))
    costs_P = np.cumsum(np.concatenate([start[:1], runs_P])) / len(costs_NA)
    accuracies_P = np.cumsum(np.concatenate([start[1:], rises_P])) / len(costs_UL)
    return Curves(costs_P[None], accuracies_P[None])


# ---- metrics ---------------------------------------------------------------------------


def captured_share(policy: Curves, hull: Curves, reference: Curves, end_B: Floats) -> Floats:
    """Share of the area between `hull` and `reference`, up to `end_B`, that lies under `policy`.

    Areas are signed: a policy below the hull captures a negative share. NaN where the
    reference gains nothing over the hull.
    """
    floor_B = hull.area(end_B)
    return _ratio(policy.area(end_B) - floor_B, reference.area(end_B) - floor_B, positive=True)


def aiq(costs_BP: Floats, accuracies_BP: Floats, full_cost_B: Floats) -> Floats:
    """Average improvement in quality (RouterBench), (B,).

    The area under the non-decreasing convex hull of a policy's points over the costs from
    0 to FULL's, divided by FULL's cost.
    """
    return _ratio(upper_hull(costs_BP, accuracies_BP).area(full_cost_B), full_cost_B)


def apgr(curves: Curves, no_B: Floats, full_B: Floats, full_cost_B: Floats) -> Floats:
    """Average performance gap recovered (RouteLLM), (B,).

    The mean over `APGR_SHARES` of FULL's cost of (policy - NO) / (FULL - NO), accuracies
    all; not clipped, so that it may be negative or above 1. RouteLLM averages over shares
    of calls to the strong model; here cost takes their place.
    """
    at_BQ = full_cost_B[:, None] * np.array(APGR_SHARES)
    return _ratio(curves.value(at_BQ).mean(axis=1) - no_B, full_B - no_B)


def mcc(looked_N: Bools, needed_N: Bools) -> float:
    """Matthews correlation of looking (action other than NO) with need.

    NaN where either is constant: the correlation is then undefined.
    """
    covariance = (looked_N & needed_N).mean() - looked_N.mean() * needed_N.mean()
    variance = looked_N.var() * needed_N.var()
    return float(covariance / np.sqrt(variance)) if variance > 0 else float("nan")


def needs_look(correct_NA: Floats) -> Bools:
    """Whether looking helps: COARSE or FULL scores above NO, (N,).

    For right-or-wrong scores: NO is wrong while COARSE or FULL is right.
    """
    return correct_NA[:, 1:].max(axis=1) > correct_NA[:, 0]


def _ratio(numerator_B: Floats, denominator_B: Floats, *, positive: bool = False) -> Floats:
    """Quotient; NaN where the denominator vanishes (or, on request, is negative)."""
    size_B = denominator_B if positive else np.abs(denominator_B)
    usable_B = size_B > 1e-12
    return np.where(usable_B, numerator_B / np.where(usable_B, denominator_B, 1.0), np.nan)

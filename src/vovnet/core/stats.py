"""Curves, mixing hulls and routing metrics over accuracy-cost points.

Shapes: B resamples, of which the first is the data itself, N rows, U questions, K policies,
P points of a curve, Q positions. Accuracies are shares in [0, 1], costs are in the unit of
`vovnet.core.cost.expected_cost`. Everything is batched over B, so that a statistic and its
bootstrap distribution come from one call.
"""

from dataclasses import dataclass

import numpy as np

from vovnet.core.arrays import Bools, Floats, Ints, unit_sums
from vovnet.core.resampling import Resamples

APGR_SHARES: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of FULL's cost over which APGR averages: RouteLLM's ten steps of 10%."""

ROUNDING = 1e-9
"""A reference that gains less than this share of the area under the hull gains nothing."""


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
        next_BQ = _knots_up_to(self.costs, at_BQ)
        left_BQ, right_BQ = np.clip(next_BQ - 1, 0, last), np.clip(next_BQ, 0, last)
        rows_B1 = np.arange(len(self.costs))[:, None]
        cost_left_BQ, low_BQ = self.costs[rows_B1, left_BQ], self.accuracies[rows_B1, left_BQ]
        width_BQ = self.costs[rows_B1, right_BQ] - cost_left_BQ
        rise_BQ = self.accuracies[rows_B1, right_BQ] - low_BQ
        share_BQ = (at_BQ - cost_left_BQ) / np.where(width_BQ > 0, width_BQ, 1.0)
        return low_BQ + np.where(width_BQ > 0, share_BQ * rise_BQ, 0.0)

    def area(self, end_B: Floats) -> Floats:
        """Exact area under each curve from cost 0 to `end_B`, (B,); costs are not negative."""
        within_BP = np.minimum(self.costs, end_B[:, None])
        steps_BP, widths_BP = np.diff(within_BP, axis=1), np.diff(self.costs, axis=1)
        share_BP = steps_BP / np.where(widths_BP > 0, widths_BP, 1.0)
        left_BP = self.accuracies[:, :-1]
        middle_BP = left_BP + share_BP * np.diff(self.accuracies, axis=1) / 2
        before_B = within_BP[:, 0] * self.accuracies[:, 0]
        after_B = (end_B - within_BP[:, -1]) * self.accuracies[:, -1]
        return before_B + (steps_BP * middle_BP).sum(axis=1) + after_B


def _knots_up_to(costs_BP: Floats, at_BQ: Floats) -> Ints:
    """How many of the ascending costs are not above each place, by bisection, (B, Q)."""
    count, rows_B1 = costs_BP.shape[1], np.arange(len(costs_BP))[:, None]
    passed_BQ = np.zeros(at_BQ.shape, dtype=np.int64)
    for bit in reversed(range(count.bit_length())):
        tried_BQ = passed_BQ + (1 << bit)
        below_BQ = costs_BP[rows_B1, np.minimum(tried_BQ, count) - 1] <= at_BQ
        passed_BQ = np.where(below_BQ & (tried_BQ <= count), tried_BQ, passed_BQ)
    return passed_BQ


def sweep_curve(costs_BP: Floats, accuracies_BP: Floats) -> Curves:
    """Curve through a policy's points, in the order of their costs.

    Between neighbouring settings it is linear: answer a random share of the samples under
    each. Of points that cost the same the better is kept. To the right of the dearest
    point it stays constant, since spending less is always possible. No hull is taken:
    choosing the best of noisy points would flatter the policy.
    """
    order_P = np.lexsort((accuracies_BP[0], costs_BP[0]))
    costs_BP, accuracies_BP = costs_BP[:, order_P], accuracies_BP[:, order_P]
    # On a frontier this is the order of nearly all resamples; the others have one of their own.
    runs_BP, rises_BP = np.diff(costs_BP, axis=1), np.diff(accuracies_BP, axis=1)
    other_B = ((runs_BP < 0) | ((runs_BP == 0) & (rises_BP < 0))).any(axis=1)
    if other_B.any():
        order_BP = np.lexsort((accuracies_BP[other_B], costs_BP[other_B]), axis=1)
        for values_BP in (costs_BP, accuracies_BP):
            values_BP[other_B] = np.take_along_axis(values_BP[other_B], order_BP, axis=1)
    tied_BP = np.diff(costs_BP, axis=1, append=np.inf) == 0
    if tied_BP.any():  # the last of those that cost the same is the best
        best_BP = np.where(tied_BP, costs_BP.shape[1], np.arange(costs_BP.shape[1]))
        best_BP = np.minimum.accumulate(best_BP[:, ::-1], axis=1)[:, ::-1]
        accuracies_BP = np.take_along_axis(accuracies_BP, best_BP, axis=1)
    return Curves(costs_BP, accuracies_BP)


def upper_hull(costs_BK: Floats, accuracies_BK: Floats) -> Curves:
    """Non-decreasing upper convex hull of K points: what random mixing reaches within a cost.

    Which points are its corners is chosen on the data, the first row, and held in the resamples:
    choosing the best of noisy points anew in each would lift every resample above the data. The
    knots are the corners; a point that is worse than a cheaper one is none.
    """
    corners = _corners(costs_BK[0], accuracies_BK[0])
    return sweep_curve(costs_BK[:, corners], accuracies_BK[:, corners])


def _corners(costs_K: Floats, accuracies_K: Floats) -> list[int]:
    """Which points are corners of their hull, the cheapest first; one on an edge is none."""
    kept: list[int] = []

    def slope(left: int, right: int) -> float:
        rise, run = accuracies_K[right] - accuracies_K[left], costs_K[right] - costs_K[left]
        return float(rise / run)

    for point in np.lexsort((-accuracies_K, costs_K)).tolist():
        if kept and accuracies_K[point] <= accuracies_K[kept[-1]]:
            continue
        while len(kept) > 1 and slope(kept[-2], kept[-1]) <= slope(kept[-1], point):
            kept.pop()
        kept.append(point)
    return kept


MOST_POINTS = 200
"""Points of a frontier, of a policy as of a reference: neither has a finer grid than the other."""


def best_choice(
    costs_NA: Floats, scores_NA: Floats, units_N: Ints, resamples: Resamples | None = None
) -> Curves:
    """What a perfect choice of an action per row reaches at any cost.

    It buys the right answers that cost least first: the concave frontier of accuracy over
    average cost, (B, P), or (1, P) without resamples. Scores are those of units: a unit scores
    at least v where every row does, for the cost of the cheapest such action of each row. Every
    level v that occurs is an option of a unit; the steps along the hull of its options, of all
    units together and steepest first, are the frontier. No choice lies above it, where it has no
    more than `MOST_POINTS` points. Of more, neighbouring steps are joined: the curve then has
    points of the frontier with lines between them, which a choice may lie slightly above.
    """
    levels_L = np.unique(scores_NA)
    reached_NLA = scores_NA[:, None, :] >= levels_L[:, None]
    cheapest_NL = np.where(reached_NLA, costs_NA[:, None, :], np.inf).min(axis=2)
    costs_UL = unit_sums(cheapest_NL, units_N)
    rows_U = np.arange(len(costs_UL))
    at_U = (costs_UL <= costs_UL[:, :1]).sum(axis=1) - 1  # the best that costs least
    start_U2 = np.stack([costs_UL[rows_U, at_U], levels_L[at_U]], axis=1)
    steps = []
    for _ in levels_L[1:]:
        rises_UL = levels_L - levels_L[at_U, None]
        runs_UL = costs_UL - costs_UL[rows_U, at_U, None]
        slopes_UL = np.divide(rises_UL, runs_UL, out=np.zeros_like(runs_UL), where=runs_UL > 0)
        to_U = slopes_UL.argmax(axis=1)
        slope_U = slopes_UL[rows_U, to_U]
        up_U = slope_U > 0
        taken = np.stack([slope_U, runs_UL[rows_U, to_U], rises_UL[rows_U, to_U], rows_U])
        steps.append(taken[:, up_U])
        at_U = np.where(up_U, to_U, at_U)
    return _bought(start_U2, np.concatenate([np.zeros((4, 0)), *steps], axis=1), units_N, resamples)


def _bought(
    start_U2: Floats, steps_4M: Floats, units_N: Ints, resamples: Resamples | None
) -> Curves:
    """The curve from where every unit starts over all steps (slope, run, rise, unit), (B, P)."""
    slopes_M, runs_M, rises_M = steps_4M[:3]
    ranks_M = np.unique(-slopes_M, return_inverse=True)[1]
    count = int(ranks_M.max(initial=-1)) + 1
    num_steps = min(count, MOST_POINTS - 1)
    steps_M, units_M = ranks_M * num_steps // max(count, 1), steps_4M[3].astype(np.int64)
    moves_UP2 = np.zeros((len(start_U2), 1 + num_steps, 2))
    moves_UP2[:, 0] = start_U2
    np.add.at(moves_UP2, (units_M, 1 + steps_M), np.stack([runs_M, rises_M], axis=1))
    runs_UP, rises_UP = moves_UP2[..., 0], moves_UP2[..., 1]
    sizes_U1 = np.bincount(units_N).astype(np.float64)[:, None]
    if resamples is None:
        resamples = Resamples.draw(np.arange(len(start_U2)), 0, 0)
    costs_BP = resamples.means(runs_UP.cumsum(axis=1)) / resamples.means(sizes_U1)
    return Curves(costs_BP, resamples.means(rises_UP.cumsum(axis=1)))


# ---- metrics ---------------------------------------------------------------------------


def captured_share(policy: Curves, hull: Curves, reference: Curves, end_B: Floats) -> Floats:
    """Share of the area between `hull` and `reference`, up to `end_B`, that lies under `policy`."""
    return share_of_area(policy.area(end_B), hull.area(end_B), reference.area(end_B))


def share_of_area(policy_B: Floats, hull_B: Floats, reference_B: Floats) -> Floats:
    """The same from the areas under the three curves, (B,).

    Areas are signed: a policy below the hull captures a negative share. NaN where the
    reference gains nothing over the hull, in whatever unit costs are counted.
    """
    gained_B, least_B = reference_B - hull_B, ROUNDING * hull_B
    return _ratio(policy_B - hull_B, np.where(gained_B > least_B, gained_B, 0.0))


def aiq(
    costs_BP: Floats, accuracies_BP: Floats, full_cost_B: Floats, no_cost_B: Floats | float = 0.0
) -> Floats:
    """Average improvement in quality (RouterBench), (B,).

    The area under the non-decreasing convex hull of a policy's points over the costs from NO's
    to FULL's, divided by their difference.
    """
    hull, start_B = upper_hull(costs_BP, accuracies_BP), no_cost_B + 0 * full_cost_B
    return _ratio(hull.area(full_cost_B) - hull.area(start_B), full_cost_B - start_B)


def apgr(
    curves: Curves,
    no_B: Floats,
    full_B: Floats,
    full_cost_B: Floats,
    no_cost_B: Floats | float = 0.0,
) -> Floats:
    """Average performance gap recovered (RouteLLM), (B,).

    The mean over `APGR_SHARES` of the way from NO's cost to FULL's of (policy - NO) / (FULL - NO),
    accuracies all; not clipped, so that it may be negative or above 1. NaN where FULL is no better
    than NO: there is no gap, and the quotient would count what is lost as recovered. RouteLLM
    averages over shares of calls to the strong model; here cost takes their place. NaN also where
    FULL costs no more than NO, and nobody has to choose.
    """
    way_B = full_cost_B - no_cost_B
    at_BQ = (full_cost_B - way_B)[:, None] + way_B[:, None] * np.array(APGR_SHARES)
    gap_B = np.where(way_B > 0, full_B - no_B, 0.0)
    return _ratio(curves.value(at_BQ).mean(axis=1) - no_B, gap_B, positive=True)


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

"""Curves, hulls and routing metrics: values by hand, numpy, and properties."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

from support.properties import given, st
from vovnet.core.arrays import unit_codes, unit_minima, unit_sums
from vovnet.core.resampling import Resamples
from vovnet.core.stats import (
    APGR_SHARES,
    MOST_POINTS,
    Curves,
    aiq,
    apgr,
    best_choice,
    captured_share,
    mcc,
    needs_look,
    sweep_curve,
    upper_hull,
)

POINTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 100)), min_size=1, max_size=8).map(
    lambda pairs: np.array(pairs, dtype=float) / [1, 100]
)
"""Costs, some of them equal, and accuracies."""


def row(*values: float) -> np.ndarray:
    return np.array([values], dtype=float)


# ---- units -------------------------------------------------------------------------------


def test_units_by_hand() -> None:
    units_N = unit_codes(["b", "a", "b", "c", "a"])
    assert units_N.tolist() == [0, 1, 0, 2, 1]
    scores_N1 = np.array([[1.0], [1], [0], [0.3], [1]])
    assert unit_minima(scores_N1, units_N).tolist() == [[0], [1], [0.3]]
    assert unit_sums(scores_N1, units_N).tolist() == [[1], [2], [0.3]]
    assert unit_minima(scores_N1[:, 0], units_N).tolist() == [0, 1, 0.3]


# ---- curves ------------------------------------------------------------------------------


def test_curve_by_hand() -> None:
    curves = sweep_curve(row(16, 0, 4), row(0.9, 0.3, 0.7))
    assert curves.costs.tolist() == [[0, 4, 16]]
    found = curves.value(row(-1, 0, 2, 4, 10, 16, 20))
    assert found[0] == pytest.approx([0.3, 0.3, 0.5, 0.7, 0.8, 0.9, 0.9])
    assert curves.area(np.array([16.0]))[0] == pytest.approx(4 * 0.5 + 12 * 0.8)
    assert curves.area(np.array([20.0]))[0] == pytest.approx(4 * 0.5 + 12 * 0.8 + 4 * 0.9)
    assert curves.area(np.array([2.0]))[0] == pytest.approx(2 * 0.4)


def test_no_hull_is_taken_of_a_sweep() -> None:
    curves = sweep_curve(row(0, 4, 8), row(0.5, 0.2, 0.9))
    assert curves.value(row(4))[0, 0] == 0.2


def test_of_equal_costs_the_better_counts() -> None:
    curves = sweep_curve(row(4, 0, 4, 4), row(0.5, 0.1, 0.7, 0.6))
    assert curves.value(row(2, 4, 5))[0] == pytest.approx([0.4, 0.7, 0.7])


@given(POINTS, st.lists(st.integers(-2, 25), min_size=1, max_size=5))
def test_values_are_those_of_numpy(points: np.ndarray, at: list[int]) -> None:
    best: dict[float, float] = {}
    for cost, accuracy in points:
        best[cost] = max(accuracy, best.get(cost, 0.0))
    costs = sorted(best)
    expected = np.interp(at, costs, [best[cost] for cost in costs])
    curves = sweep_curve(points[None, :, 0], points[None, :, 1])
    assert curves.value(np.array([at], dtype=float))[0] == pytest.approx(expected)


@given(POINTS, st.integers(1, 25))
def test_areas_are_those_of_a_fine_grid(points: np.ndarray, end: int) -> None:
    """Knots lie at whole costs, so trapezoids on a grid of halves are exact."""
    curves = sweep_curve(points[None, :, 0], points[None, :, 1])
    grid = np.arange(0, end + 0.5, 0.5)
    expected = np.trapezoid(curves.value(grid[None])[0], grid)
    assert curves.area(np.array([float(end)]))[0] == pytest.approx(expected)


@given(st.lists(POINTS, min_size=2, max_size=4))
def test_resamples_do_not_see_each_other(several: list[np.ndarray]) -> None:
    size = min(map(len, several))
    stacked = np.stack([points[:size] for points in several])
    together = sweep_curve(stacked[..., 0], stacked[..., 1]).area(np.full(len(several), 20.0))
    alone = [
        sweep_curve(points[None, :, 0], points[None, :, 1]).area(np.array([20.0]))[0]
        for points in stacked
    ]
    assert together == pytest.approx(alone)


# ---- hulls -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracies", "hull"),
    [
        ((0.3, 0.7, 0.9), (0.3, 0.7, 0.9)),  # COARSE above the line: it is a corner
        ((0.3, 0.4, 0.9), (0.3, 0.45, 0.9)),  # below: lifted to the line
        ((0.3, 0.8, 0.6), (0.3, 0.8, 0.8)),  # FULL is worse than COARSE: never fall
        ((0.6, 0.5, 0.4), (0.6, 0.6, 0.6)),  # looking harms
    ],
)
def test_hulls_by_hand(accuracies: tuple[float, ...], hull: tuple[float, ...]) -> None:
    found = upper_hull(row(0, 4, 16), row(*accuracies))
    assert found.value(row(0, 4, 16))[0] == pytest.approx(hull)


def test_the_corners_are_those_of_the_data() -> None:
    """In the second resample the middle point is above the line, in the third the last is worse."""
    costs_BK = np.tile([0.0, 4, 16], (3, 1))
    points_BK = np.array([[0.3, 0.4, 0.9], [0.3, 0.8, 0.9], [0.3, 0.4, 0.2]])
    found = upper_hull(costs_BK, points_BK)
    assert found.costs.tolist() == [[0, 16]] * 3
    assert found.accuracies.tolist() == [[0.3, 0.9], [0.3, 0.9], [0.3, 0.2]]


@given(POINTS, st.integers(0, 2**32 - 1))
def test_the_hull_is_what_mixing_reaches(points: np.ndarray, seed: int) -> None:
    """It lies on or above every mixture within its cost, never falls, and is concave."""
    hull = upper_hull(points[None, :, 0], points[None, :, 1])
    weights_MP = np.random.default_rng(seed).dirichlet(np.ones(len(points)), size=50)
    costs_M, accuracies_M = (weights_MP @ points).T
    assert (hull.value(costs_M[None])[0] >= accuracies_M - 1e-9).all()
    low, high = points[:, 0].min(), points[:, 0].max()
    grid = np.linspace(low, high, 41)
    values = hull.value(grid[None])[0]
    assert (np.diff(values) >= -1e-9).all()
    assert (np.diff(values, 2) <= 1e-9).all()
    assert values[-1] == pytest.approx(points[:, 1].max())
    # No higher than needed: at the cheapest cost it is the best point there.
    assert values[0] == pytest.approx(points[points[:, 0] == low, 1].max())


# ---- a perfect choice --------------------------------------------------------------------


def test_a_perfect_choice_buys_the_cheap_answers_first() -> None:
    """Four questions: right at once, from COARSE, from FULL, never."""
    scores_NA = np.array([[1.0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]])
    costs_NA = np.tile([0.0, 4, 16], (4, 1))
    found = best_choice(costs_NA, scores_NA, np.arange(4))
    assert found.costs.tolist() == [[0, 1, 5]]
    assert found.accuracies.tolist() == [[0.25, 0.5, 0.75]]
    # Passes of one question: the second and third are bought together or not at all.
    found = best_choice(costs_NA, scores_NA, np.array([0, 1, 1, 2]))
    assert found.costs[0] == pytest.approx([0, 5])
    assert found.accuracies[0] == pytest.approx([1 / 3, 2 / 3])
    # Resamples buy in the same order: without the first question, and with the passes twice.
    counts_BC = np.array([[1, 1, 1], [0, 2, 1]], dtype=np.uint8)
    resamples = Resamples(counts_BC, np.arange(3))
    found = best_choice(costs_NA, scores_NA, np.array([0, 1, 1, 2]), resamples)
    assert found.costs[1] == pytest.approx([0, 2 * 20 / 5])
    assert found.accuracies[1] == pytest.approx([0, 2 / 3])


def test_a_perfect_choice_skips_a_view_that_lies_below_the_line() -> None:
    costs_NA = np.array([[0.0, 4, 16]])
    found = best_choice(costs_NA, np.array([[0.0, 0.1, 1.0]]), np.zeros(1, dtype=int))
    assert (found.costs.tolist(), found.accuracies.tolist()) == ([[0, 16]], [[0, 1]])
    found = best_choice(costs_NA, np.array([[0.0, 0.5, 1.0]]), np.zeros(1, dtype=int))
    assert (found.costs.tolist(), found.accuracies.tolist()) == ([[0, 4, 16]], [[0, 0.5, 1]])
    found = best_choice(costs_NA, np.array([[0.5, 0.2, 0.5]]), np.zeros(1, dtype=int))
    assert (found.costs.tolist(), found.accuracies.tolist()) == ([[0]], [[0.5]])


def test_a_perfect_choice_has_no_finer_grid_than_a_policy() -> None:
    """Each of 1,000 questions is won for a price of its own: neighbouring steps are joined."""
    prices_N = np.random.default_rng(0).permutation(np.arange(1.0, 1001))
    costs_NA, scores_NA = np.stack([0 * prices_N, prices_N], axis=1), np.tile([0.0, 1], (1000, 1))
    found = best_choice(costs_NA, scores_NA, np.arange(1000))
    spent_P = np.append(0, np.arange(1.0, 1001).cumsum() / 1000)
    assert found.costs.shape == (1, MOST_POINTS)
    reached_P = np.interp(found.costs[0], spent_P, np.linspace(0, 1, 1001))
    assert found.accuracies[0] == pytest.approx(reached_P)
    assert (found.costs[0, 0], found.costs[0, -1]) == pytest.approx((0, spent_P[-1]))
    below_P = np.linspace(0, 1, 1001) - found.value(spent_P[None])[0]
    assert 0 < below_P.max() < 1 / MOST_POINTS


SCORED_ROWS = st.lists(
    st.tuples(
        st.tuples(*[st.sampled_from([0.0, 0.3, 0.6, 1.0])] * 3),
        st.sampled_from([(0, 4, 16), (0, 0, 0), (0, 9, 9), (0, 2, 30)]),
        st.integers(0, 3),  # the unit
    ),
    min_size=1,
    max_size=6,
)


@given(SCORED_ROWS)
def test_no_choice_is_better_than_the_perfect_one(rows: list[Any]) -> None:
    """Every choice of an action per row lies on or below it, and every knot is one."""
    scores_NA, costs_NA = (np.array([row[i] for row in rows], dtype=float) for i in (0, 1))
    units_N = unit_codes([str(row[2]) for row in rows])
    curve = best_choice(costs_NA, scores_NA, units_N)
    reached = []
    for chosen in product(range(3), repeat=len(rows)):
        at = np.arange(len(rows)), np.array(chosen)
        reached.append((costs_NA[at].mean(), unit_minima(scores_NA[at], units_N).mean()))
    costs_M, accuracies_M = np.array(reached).T
    assert (curve.value(costs_M[None])[0] >= accuracies_M - 1e-9).all()
    hull = upper_hull(
        *(values_M[None, _corners(costs_M, accuracies_M)] for values_M in (costs_M, accuracies_M))
    )
    assert curve.accuracies[0] == pytest.approx(hull.value(curve.costs)[0])
    assert (np.diff(curve.costs) > 0).all()


def _corners(costs_M: np.ndarray, accuracies_M: np.ndarray) -> list[int]:
    """The best choice at each cost, which is all that a hull needs."""
    best: dict[float, int] = {}
    for index in np.lexsort((accuracies_M, costs_M)):
        best[float(costs_M[index])] = int(index)
    return list(best.values())


# ---- metrics -----------------------------------------------------------------------------


def test_captured_share_by_hand() -> None:
    hull = upper_hull(row(0, 16), row(0.2, 0.8))
    reference = sweep_curve(row(0, 8, 16), row(0.2, 1.0, 1.0))
    policy = sweep_curve(row(0, 8, 16), row(0.2, 0.75, 0.9))
    end = np.array([16.0])
    # Over the hull: policy 8 * (0.25 + 0 + 0.25 + 0.1) / 2, reference 8 * (0.5 + 0.5 + 0.2) / 2.
    assert captured_share(policy, hull, reference, end)[0] == pytest.approx(0.6 / 1.2)
    assert captured_share(reference, hull, reference, end)[0] == 1
    assert captured_share(hull, hull, reference, end)[0] == 0
    below = sweep_curve(row(0, 16), row(0.2, 0.5))
    assert captured_share(below, hull, reference, end)[0] < 0
    assert math.isnan(captured_share(policy, hull, hull, end)[0])
    assert math.isnan(captured_share(policy, hull, below, end)[0])


def test_captured_shares_are_the_same_in_any_unit_of_cost() -> None:
    """By FLOPs areas are large, and rounding leaves a gain where the reference has none."""
    rng = np.random.default_rng(0)
    costs_BP, higher_BP = rng.random((50, 3)).cumsum(axis=1), np.array([0, 0.1, 0.1])
    accuracies_BP = np.sqrt(costs_BP) / 2  # concave, so that all are corners
    for scale in (1, 1e12):
        hull, end_B = upper_hull(scale * costs_BP, accuracies_BP), scale * costs_BP[:, -1]
        # Further knots on the hull's lines are the same curve, but for rounding.
        knots_BQ = np.sort(np.hstack([hull.costs, scale * rng.random((50, 40))]), axis=1)
        same = Curves(knots_BQ, hull.value(knots_BQ))
        higher = Curves(hull.costs, accuracies_BP + higher_BP)
        policy = Curves(hull.costs, accuracies_BP - higher_BP)
        assert np.isnan(captured_share(policy, hull, same, end_B)).all()
        assert captured_share(policy, hull, higher, end_B) == pytest.approx(-np.ones(50))


def test_aiq_by_hand() -> None:
    # Hull of (0, .2), (8, .8), (16, .8): the point in the middle at (4, .3) does not count.
    found = aiq(row(0, 4, 8, 16), row(0.2, 0.3, 0.8, 0.7), np.array([16.0]))
    assert found[0] == pytest.approx((8 * 0.5 + 8 * 0.8) / 16)


def test_apgr_by_hand() -> None:
    line = sweep_curve(row(0, 10), row(0.2, 0.8))
    at = (np.array([0.2]), np.array([0.8]), np.array([10.0]))
    assert apgr(line, *at)[0] == pytest.approx(np.mean(APGR_SHARES))
    best = Curves(row(0, 0.5, 10), row(0.2, 0.8, 0.8))
    assert apgr(best, *at)[0] == pytest.approx(1)
    never = Curves(row(0, 10), row(0.2, 0.2))
    assert apgr(never, *at)[0] == pytest.approx(0)
    # There is no gap to recover: a curve above NO would count as one below it.
    for full in (0.5, 0.4):
        assert math.isnan(apgr(line, np.array([0.5]), np.array([full]), np.array([10.0]))[0])


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(lambda counts: sum(counts) > 0))
def test_mcc_is_the_closed_form(counts: tuple[int, int, int, int]) -> None:
    tp, fp, fn, tn = counts
    looked_N = np.repeat([True, True, False, False], counts)
    needed_N = np.repeat([True, False, True, False], counts)
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    found = mcc(looked_N, needed_N)
    if product == 0:
        assert math.isnan(found)
    else:
        assert found == pytest.approx((tp * tn - fp * fn) / math.sqrt(product), abs=1e-12)


def test_need_by_hand() -> None:
    correct_NA = np.array([[0, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0], [0.3, 0.3, 0.6]])
    assert needs_look(correct_NA).tolist() == [True, True, False, False, False, True]

"""Intervals of gains, captured shares and differences cover a truth that is known exactly.

Simulated results: of each question it is known which view it needs, questions share images, and
trainings differ in how well they read and in how well they guess what a question needs. All of it
is written as probabilities, so that the true value of every measure is a sum over few cases and an
integral over one normal number, that of the training.

Shapes: S seeds, T samples, U questions, A actions, P points, B resamples, K measures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from vovnet.core.resampling import Resamples, mean_over_seeds
from vovnet.core.stats import Curves, best_choice, captured_share
from vovnet.evaluation.ground import Ground, Points, hull_gains

COSTS = np.array([0.0, 4, 16])
IMAGES, PER_IMAGE, SEEDS = 200, 2, 3
CHANCE, READ, READ_SD = 0.25, 0.85, 0.02
"""How often an answer is right without what it needs, and with it: mean and sd over trainings."""

CUES = ((0.75, 0.05), (0.6, 0.0))
"""How often each of two policies guesses the need of a question right, the first in some
trainings more often than in others: mean and sd."""

SETTINGS = np.array([[0, 0, 2], [0, 1, 2], [0, 2, 2]])
"""The operating points of a policy: the action for each need that it guesses, (P, 3)."""

CLEAR = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
"""Shares of questions that need NO, COARSE, FULL: of images of two kinds, which are as frequent."""

ON_THE_LINE = np.array([[0.7, 0.075, 0.225], [0.2, 0.2, 0.6]])
"""COARSE costs a quarter of FULL and brings a quarter of its gain, so that it is chance whether
it is a corner of the hull."""

NAMES = [f"{what}_{at}" for what in ("gain", "difference") for at in (25, 50, 75)]
NAMES += ["captured", "captured_by_other", "captured_difference"]


def measures(fixed: Points, best: Curves, policies: Sequence[Points]) -> np.ndarray:
    """The measures of a training, (B, K): policies are compared with the hull and each other."""
    ground = Ground(np.zeros(0, dtype=bool), fixed, 2, best)
    first, second = (hull_gains(ground, ground.curve(points)) for points in policies)
    own, other = map(ground.curve, policies)
    shares = [captured_share(curve, ground.hull, best, ground.full_cost) for curve in (own, other)]
    return np.column_stack([first, first - second, *shares, shares[0] - shares[1]])


def truth(needs_KA: np.ndarray) -> np.ndarray:
    """The mean of the measures over trainings, exactly: by Gauss and Hermite, (K,)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return np.average([expected(needs_KA.mean(axis=0), z) for z in nodes], axis=0, weights=weights)


def expected(needs_A: np.ndarray, z: float) -> np.ndarray:
    """The measures of one training on all questions there could be."""
    read = READ + READ_SD * z
    right_AA = np.where(np.arange(3) >= np.arange(3)[:, None], read, CHANCE)  # by need and action
    fixed = Points(COSTS[None], (needs_A @ right_AA)[None])
    won_A = needs_A[1:] * (read - CHANCE)  # right from COARSE on, and from FULL alone
    best = Curves(
        np.cumsum([[0.0, *(won_A * COSTS[1:])]], axis=1),
        np.cumsum([[fixed.accuracies[0, 0], *won_A]], axis=1),
    )
    policies = []
    for cue, deviation in CUES:
        guessed = cue + deviation * z
        guess_AA = np.where(np.eye(3) > 0, guessed, (1 - guessed) / 2)
        joint_AA = needs_A[:, None] * guess_AA
        policies.append(
            Points(
                np.array([[(joint_AA * COSTS[shown]).sum() for shown in SETTINGS]]),
                np.array([[(joint_AA * right_AA[:, shown]).sum() for shown in SETTINGS]]),
            )
        )
    return measures(fixed, best, policies)[0]


def simulated(
    needs_KA: np.ndarray, rng: np.random.Generator, resamples: Resamples, count: int
) -> np.ndarray:
    """The measures of `count` samples of questions, each seen by some trainings, (S, B, count, K).

    Samples in which the hull has the same corners are measured together, row by row.
    """
    shape = (IMAGES * PER_IMAGE, count)
    kinds_UT = np.repeat(rng.integers(0, 2, (IMAGES, count)), PER_IMAGE, axis=0)
    needs_UT = (rng.random((*shape, 1)) > needs_KA.cumsum(axis=1)[kinds_UT]).sum(axis=2)
    shared_UT = rng.random(shape)
    found = []
    for z_T in rng.normal(size=(SEEDS, count)):
        own_UT = np.where(rng.random(shape) < 0.6, shared_UT, rng.random(shape))
        able_UTA = np.arange(3) >= needs_UT[:, :, None]
        limits_UTA = np.where(able_UTA, READ + READ_SD * z_T[:, None], CHANCE)
        scores_UTA = (own_UT[:, :, None] < limits_UTA).astype(float)
        columns = [scores_UTA]
        for cue, deviation in CUES:
            wrong_UT = rng.random(shape) >= cue + deviation * z_T
            guessed_UT = (needs_UT + wrong_UT * rng.integers(1, 3, shape)) % 3
            shown_UTP = np.moveaxis(SETTINGS[:, guessed_UT], 0, 2)
            columns += [COSTS[shown_UTP], np.take_along_axis(scores_UTA, shown_UTP, axis=2)]
        values_UTC = np.concatenate(columns, axis=2)
        means_BTC = resamples.means(values_UTC.reshape(shape[0], -1)).reshape(-1, count, 15)
        found.append(np.empty((len(means_BTC), count, len(NAMES))))
        no_T, coarse_T, full_T = means_BTC[0, :, :3].T
        above_T = coarse_T > no_T + (full_T - no_T) / 4
        assert (means_BTC[0, :, 8] < full_T).all(), "beyond its dearest point a policy takes FULL"
        for chosen_T in (above_T, ~above_T):
            rows_BTC = means_BTC[:, chosen_T]
            measured = measured_rows(rows_BTC.reshape(-1, 15)) if chosen_T.any() else rows_BTC
            found[-1][:, chosen_T] = measured.reshape(len(rows_BTC), -1, len(NAMES))
    return np.stack(found)


def measured_rows(means_BC: np.ndarray) -> np.ndarray:
    """The measures of averages, a row each: three of the actions, and six of each policy."""
    scores_BA, *policies = np.split(means_BC, 5, axis=1)
    fixed = Points(np.tile(COSTS, (len(means_BC), 1)), scores_BA)
    # What is right under a view is so under dearer ones: a perfect choice buys the differences.
    won_BA = np.diff(scores_BA, axis=1)
    best = Curves(
        np.cumsum(np.column_stack([np.zeros(len(means_BC)), won_BA * COSTS[1:]]), axis=1), scores_BA
    )
    return measures(fixed, best, [Points(*policies[:2]), Points(*policies[2:])])


def trials(needs_KA: np.ndarray, seeds: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """How often the interval of each measure covers the truth, and the bias of its mean, (K,)."""
    resamples = Resamples.draw(np.repeat(np.arange(IMAGES), PER_IMAGE), 250, seed=0)
    rng, true_K = np.random.default_rng(0), truth(needs_KA)
    estimates = []
    for _ in range(count // 100):
        values_SBK = simulated(needs_KA, rng, resamples, 100)[:seeds]
        estimates.append(mean_over_seeds(values_SBK.reshape(*values_SBK.shape[:2], -1)))
    value, low, high = (
        np.concatenate([getattr(found, name).reshape(100, -1) for found in estimates])
        for name in ("value", "low", "high")
    )
    return ((low <= true_K) & (true_K <= high)).mean(axis=0), value.mean(axis=0) - true_K


def test_the_perfect_choice_of_the_simulation_is_that_of_the_measures() -> None:
    needs_U = np.random.default_rng(0).integers(0, 4, 50)
    scores_UA = (np.arange(3) >= needs_U[:, None]).astype(float)
    found = best_choice(np.tile(COSTS, (50, 1)), scores_UA, np.arange(50))
    won_A = np.diff(scores_UA.mean(axis=0))
    assert found.costs[0] == pytest.approx(np.cumsum([0, *(won_A * COSTS[1:])]))
    assert found.accuracies[0] == pytest.approx(scores_UA.mean(axis=0))


def test_intervals_of_three_seeds_cover() -> None:
    covered_K, bias_K = trials(CLEAR, SEEDS, 1200)
    assert ((covered_K >= 0.93) & (covered_K <= 0.97)).all(), _named(covered_K)
    assert (np.abs(bias_K[:6]) < 0.2).all() and (np.abs(bias_K[6:]) < 0.01).all(), _named(bias_K)


def test_a_corner_that_is_chance_lifts_the_hull_by_half_a_point() -> None:
    """The worst case of choosing the corners on the data: gains are told too low."""
    covered_K, bias_K = trials(ON_THE_LINE, SEEDS, 400)
    assert ((bias_K[:3] > -0.7) & (bias_K[:3] < 0.1)).all(), _named(bias_K)
    assert (covered_K >= 0.92).all(), _named(covered_K)


def test_an_interval_over_questions_alone_does_not_cover_other_trainings() -> None:
    """Why a mean over seeds is not given the interval of its questions."""
    covered_K, _ = trials(CLEAR, 1, 200)
    assert covered_K[1] < 0.9, _named(covered_K)


def _named(values_K: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, values_K.round(3).tolist(), strict=True))

"""Intervals of gains, captured shares and differences cover a truth that is known exactly.

Simulated results: of each question it is known which view it needs, questions share images, and
trainings differ in how well they read and in how well they guess what a question needs. All of it is
written as probabilities, so that the true value of every measure is a sum over few cases and an
integral over one normal number, that of the training.

Shapes: S seeds, U questions, A actions, P points, B resamples, K measures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from vovnet.core.resampling import Resamples, mean_over_seeds
from vovnet.core.stats import Curves, best_choice, captured_share
from vovnet.evaluation.references import Ground, Points, hull_gains

COSTS = np.array([0.0, 4, 16])
IMAGES, PER_IMAGE, SEEDS, TRIALS = 200, 2, 3, 500
CHANCE, READ, READ_SD = 0.25, 0.85, 0.02
"""How often an answer is right without what it needs, and with it: mean and sd over trainings."""

CUE_SD = 0.05
CUES = (0.75, 0.6)
"""How often each of two policies guesses the need of a question right."""

SETTINGS = np.array([[0, 0, 2], [0, 1, 2], [0, 2, 2]])
"""The operating points of a policy: the action for each need that it guesses, (P, 3)."""

CLEAR = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
"""Shares of questions that need NO, COARSE, FULL: of images of two kinds, which are as frequent."""

ON_THE_LINE = np.array([[0.7, 0.075, 0.225], [0.2, 0.2, 0.6]])
"""COARSE costs a quarter of FULL and brings a quarter of its gain, so that it is chance whether
it is a corner of the hull."""

NAMES = [f"{what}_{at}" for what in ("gain", "difference") for at in (25, 50, 75)]
NAMES += ["captured", "captured_other", "captured_difference"]


def measures(fixed: Points, best: Curves, policies: Sequence[Points]) -> np.ndarray:
    """The measures of a training, (B, K): policies are compared with the hull and each other."""
    ground = Ground(np.zeros(0, dtype=bool), fixed, 2, best)
    first, second = (hull_gains(ground, points) for points in policies)
    own, other = map(ground.curve, policies)
    shares = [
        captured_share(curve, ground.hull, best, ground.full_cost) for curve in (own, other)
    ]
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
    for cue in CUES:
        guessed = cue + CUE_SD * z
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
    needs_KA: np.ndarray, rng: np.random.Generator, resamples: Resamples, seeds: int
) -> np.ndarray:
    """The measures of some trainings on one sample of questions, and on its resamples, (S, B, K)."""
    count = IMAGES * PER_IMAGE
    kinds_U = np.repeat(rng.integers(0, 2, IMAGES), PER_IMAGE)
    needs_U = (rng.random((count, 1)) > needs_KA.cumsum(axis=1)[kinds_U]).sum(axis=1)
    shared_U = rng.random(count)
    found = []
    for z in rng.normal(size=seeds):
        own_U = np.where(rng.random(count) < 0.6, shared_U, rng.random(count))
        limit_UA = np.where(np.arange(3) >= needs_U[:, None], READ + READ_SD * z, CHANCE)
        scores_UA = (own_U[:, None] < limit_UA).astype(float)
        columns = [scores_UA]
        for cue in CUES:
            wrong_U = rng.random(count) >= cue + CUE_SD * z
            guessed_U = (needs_U + wrong_U * rng.integers(1, 3, count)) % 3
            shown_UP = SETTINGS[:, guessed_U].T
            columns += [COSTS[shown_UP], np.take_along_axis(scores_UA, shown_UP, axis=1)]
        means_BK = np.split(resamples.means(np.hstack(columns)), 5, axis=1)
        fixed = Points(np.tile(COSTS, (len(means_BK[0]), 1)), means_BK[0])
        best = best_choice(np.tile(COSTS, (count, 1)), scores_UA, np.arange(count), resamples)
        policies = [Points(*means_BK[1:3]), Points(*means_BK[3:])]
        found.append(measures(fixed, best, policies))
    return np.stack(found)


def trials(needs_KA: np.ndarray, seeds: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """How often the interval of each measure covers the truth, and the bias of its mean, (K,)."""
    rng = np.random.default_rng(0)
    resamples = Resamples.draw(np.repeat(np.arange(IMAGES), PER_IMAGE), 300, seed=0)
    true_K = truth(needs_KA)
    covered, values = [], []
    for _ in range(count):
        found = mean_over_seeds(simulated(needs_KA, rng, resamples, seeds))
        covered.append((found.low <= true_K) & (true_K <= found.high))
        values.append(found.value)
    return np.mean(covered, axis=0), np.mean(values, axis=0) - true_K


def test_intervals_of_three_seeds_cover() -> None:
    covered_K, bias_K = trials(CLEAR, SEEDS, TRIALS)
    told = dict(zip(NAMES, covered_K, strict=True))
    assert ((covered_K >= 0.93) & (covered_K <= 0.97)).all(), told
    assert (np.abs(bias_K[:6]) < 0.15).all() and (np.abs(bias_K[6:]) < 0.01).all(), bias_K

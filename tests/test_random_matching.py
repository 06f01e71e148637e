"""Random actions in given shares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from support.policies import (
    COARSE,
    FULL,
    NO,
    choose,
    names,
    question,
    signals,
)
from vovnet.config import PolicySettings
from vovnet.core.errors import ConfigError


def random_actions(ratios: tuple[float, float, float] | None, seed: int, count: int) -> np.ndarray:
    policy = PolicySettings(
        baseline_name="random_policy_matched", baseline_target_ratios=ratios, baseline_seed=seed
    )
    table = signals([question()] * count)
    return choose(policy, table, questions=names(table)).actions


@pytest.mark.parametrize(
    "ratios", [(0.5, 0.2, 0.3), (0.0, 0.9, 0.1), (0.05, 0.05, 0.9), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
)
@pytest.mark.parametrize("seed", [0, 42])
def test_shares_are_met_within_sampling_error(
    ratios: tuple[float, float, float], seed: int
) -> None:
    """Four standard errors; shares of 0 and 1 are met exactly."""
    count = 5000
    drawn = random_actions(ratios, seed, count)
    for action, share in enumerate(ratios):
        error = math.sqrt(share * (1 - share) / count)
        assert abs((drawn == action).mean() - share) <= 4 * error


def test_draws_follow_from_seed_and_id() -> None:
    ratios = (0.4, 0.3, 0.3)
    first = random_actions(ratios, 0, 2000)
    assert (random_actions(ratios, 0, 2000) == first).all()
    assert (random_actions(ratios, 0, 500) == first[:500]).all()
    agreeing = (random_actions(ratios, 1, 2000) == first).mean()
    assert agreeing == pytest.approx(0.4**2 + 2 * 0.3**2, abs=0.05)  # independent of each other


def test_passes_of_a_question_draw_alike() -> None:
    """Also across buckets: the number that is drawn is the question's, the shares are the row's."""
    policy = PolicySettings(
        baseline_name="random_policy_matched", baseline_target_ratios=(0.4, 0.2, 0.4)
    )
    table = signals([question(value) for value in (0.0, 2.0)] * 500)
    asked = [f"q{row // 2}" for row in range(1000)]
    drawn_U2 = choose(policy, table, questions=asked).actions.reshape(500, 2)
    assert (drawn_U2[:, 0] == drawn_U2[:, 1]).all()
    assert set(drawn_U2[:, 0]) == {NO, COARSE, FULL}
    alone = choose(policy, table, questions=names(table)).actions.reshape(500, 2)
    assert (alone[:, 0] != alone[:, 1]).any()
    buckets = {
        "baseline_bucket_ratios": [(0.8, 0, 0.2), (0.2, 0, 0.8)],
        "baseline_bucket_thresholds": [1.0],
    }
    unlike = policy.model_copy(update=buckets)
    drawn_U2 = choose(unlike, table, questions=asked).actions.reshape(500, 2)
    assert (drawn_U2[:, 0] <= drawn_U2[:, 1]).all()
    assert (drawn_U2 == FULL).mean(axis=0) == pytest.approx([0.2, 0.8], abs=0.08)


def test_random_needs_shares() -> None:
    with pytest.raises(ConfigError, match=r"policy\.baseline_target_ratios"):
        random_actions(None, 0, 1)


def test_buckets_have_shares_of_their_own() -> None:
    """An entropy at a threshold belongs to the surer bucket."""
    policy = PolicySettings(
        baseline_name="random_policy_matched",
        baseline_bucket_ratios=[(1, 0, 0), (0, 1, 0), (0, 0, 1)],
        baseline_bucket_thresholds=[0.5, 1.0],
    )
    table = signals([question(value) for value in (0.0, 0.5, 0.625, 1.0, 1.25)])
    assert choose(policy, table, questions=names(table)).actions.tolist() == [
        NO,
        NO,
        COARSE,
        COARSE,
        FULL,
    ]
    thirds = policy.model_copy(update={"baseline_bucket_thresholds": None})
    table = signals([question(value) for value in (1.5, 0.25, 0.5, 2.0, 1.0, 0.0)])
    assert choose(thirds, table, questions=names(table)).actions.tolist() == [
        FULL,
        NO,
        COARSE,
        FULL,
        COARSE,
        NO,
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline_bucket_ratios": [(1, 0, 0), (0.5, 0, 0)]}, r"bucket_ratios\.1 must be shares"),
        ({"baseline_bucket_thresholds": [1.0]}, "one fewer than the 3 rows"),
        ({"baseline_bucket_thresholds": [1.0, 0.5]}, "must ascend"),
    ],
)
def test_buckets_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    good = {
        "baseline_bucket_ratios": [(1, 0, 0), (0, 1, 0), (0, 0, 1)],
        "baseline_bucket_thresholds": [0.5, 1.0],
    }
    PolicySettings(**good)
    with pytest.raises(ValueError, match=message):
        PolicySettings(**good | change)

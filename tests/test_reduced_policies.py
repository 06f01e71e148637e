"""Policies that show reduced views: the proxies, and a reduction inside any other policy."""

from __future__ import annotations

from typing import Any

import pytest

from support.policies import (
    COARSE,
    FULL,
    NO,
    decided,
    question,
    signals,
)
from vovnet.config import PolicySettings
from vovnet.core.errors import ConfigError
from vovnet.policies.decide import further_views, setting_columns
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

PRUNED = {"baseline_name": "vision_token_pruning_proxy", "baseline_pruning_ratio": 0.5}
MERGED = {"baseline_name": "token_merge_prune_proxy", "baseline_merge_ratio": 0.25}
RESCALED = {"baseline_name": "resolution_scaling_proxy"}
POOLED = {"baseline_name": "multi_granularity_proxy", "baseline_pool_factor": 2}


@pytest.mark.parametrize(
    ("policy", "view", "columns"),
    [
        (PRUNED, "full+prune-stride-0.5", {"pruning_ratio": 0.5}),
        (
            PRUNED | {"baseline_pruning_mode": "topk_norm", "baseline_pruning_ratio": 1},
            "full+prune-topk_norm-1",
            {"pruning_ratio": 1.0},
        ),
        (MERGED, "full+merge-cosine-0.25", {"merge_ratio": 0.25}),
        (
            MERGED
            | {"baseline_merge_mode": "l2", "baseline_merge_weight": "uniform"}
            | {"baseline_enable_prune": True, "baseline_pruning_ratio": 0.5},
            "full+merge-l2-uniform-0.25+prune-stride-0.5",
            {"merge_ratio": 0.25, "pruning_ratio": 0.5},
        ),
        (RESCALED | {"baseline_long_side": 336}, "side-336", {"long_side": 336}),
        (
            RESCALED | {"baseline_budget_mode": "max_pixels", "baseline_max_pixels": 4096},
            "pixels-4096",
            {"max_pixels": 4096},
        ),
        (POOLED, "full+pool-2", {"pool_factor": 2}),
    ],
)
def test_a_proxy_always_shows_its_view(
    policy: dict[str, Any], view: str, columns: dict[str, float]
) -> None:
    chosen = PolicySettings(**policy)
    decision = decided(policy, signals([question()] * 3), [])
    assert decision.actions.tolist() == [-1] * 3
    assert decision.views.tolist() == decision.executed.tolist() == [view] * 3
    assert further_views(chosen, ACTIONS) == [view]
    assert setting_columns(chosen) == {"baseline_name": chosen.baseline_name} | columns


def test_a_reduction_inside_changes_no_action() -> None:
    rows = [question(scores=(-2.0, -1.0, -0.9)), question(scores=(-1.0, -0.99, -0.98))]
    rows.append(question(scores=(-3.0, -2.0, -0.1)))
    plain = {"lambda_cost": 0.05}
    inside = plain | {"baseline_reduction": "pruning", "baseline_pruning_ratio": 0.5}
    policy, table = PolicySettings(**inside), signals(rows)
    decision = decided(inside, table, [])
    assert (
        decision.actions.tolist()
        == decided(plain, table, []).actions.tolist()
        == [COARSE, NO, FULL]
    )
    views = ["coarse+prune-stride-0.5", "no", "full+prune-stride-0.5"]
    assert decision.views.tolist() == views
    assert further_views(policy, ACTIONS) == ["coarse+prune-stride-0.5", "full+prune-stride-0.5"]
    assert setting_columns(policy) == {
        "baseline_name": "",
        "lambda_cost": 0.05,
        "pruning_ratio": 0.5,
    }
    assert decided(plain, table, []).views.tolist() == ["coarse", "no", "full"]
    assert further_views(PolicySettings(**plain), ACTIONS) == []


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (RESCALED, r"policy\.baseline_long_side: .* needs a number of pixels"),
        (RESCALED | {"baseline_budget_mode": "max_pixels"}, r"policy\.baseline_max_pixels: "),
        (MERGED | {"baseline_enable_prune": True}, r"baseline_pruning_ratio below 1"),
        (POOLED | {"baseline_reduction": "pruning"}, r"baseline_reduction: .* once more"),
        ({"baseline_name": "oracle", "baseline_reduction": "pruning"}, "by the signals"),
    ],
)
def test_reductions_that_make_no_sense(policy: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        further_views(PolicySettings(**policy), ACTIONS)

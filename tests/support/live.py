"""Experiments of every kind of policy that can run live, on the small world."""

from __future__ import annotations

from typing import Any

from support.worlds import settings_of
from vovnet.config import PolicySettings, Settings
from vovnet.core.layout import Layout
from vovnet.policies.decide import further_views
from vovnet.views import DEFAULT_ACTIONS

POLICIES: dict[str, dict[str, Any]] = {
    "vovnet": {"lambda_cost": 0.02},
    "vovnet_dear": {"lambda_cost": 0.3},
    "fallback": {
        "lambda_cost": 5.0,
        "fallback_mode": "full",
        "fallback_entropy_threshold": 0.5,
    },
    "entropy": {"baseline_name": "uncertainty_threshold", "baseline_threshold": 0.3},
    "random": {
        "baseline_name": "random_policy_matched",
        "baseline_target_ratios": [0.3, 0.3, 0.4],
    },
    "buckets": {
        "baseline_name": "random_policy_matched",
        "baseline_bucket_ratios": [[0.6, 0.2, 0.2], [0.1, 0.4, 0.5]],
        "baseline_bucket_thresholds": [0.5],
    },
    "always_coarse": {"baseline_name": "always_coarse"},
    "no_vision": {"baseline_name": "no_vision"},
    "pruning": {"baseline_name": "vision_token_pruning_proxy", "baseline_pruning_ratio": 0.5},
    "granularity": {"baseline_name": "multi_granularity_proxy", "baseline_pool_factor": 2},
    "cascade": {"baseline_name": "cascade", "options": {"threshold": 0.3}},
    "cascade_of_answers": {
        "baseline_name": "cascade",
        "options": {
            "views": ["no", "coarse", "full"],
            "confidence": "log_probability",
            "threshold": -0.3,
        },
    },
    "cascade_of_views": {
        "baseline_name": "cascade",
        "options": {"views": ["no", 96, "full+pool-2"], "confidence": "margin", "threshold": 0.8},
    },
    "merging_inside": {
        "lambda_cost": 0.02,
        "baseline_reduction": "merging",
        "baseline_merge_ratio": 0.5,
    },
}
VIEWS = [
    view
    for policy in POLICIES.values()
    for view in further_views(PolicySettings(**policy), DEFAULT_ACTIONS)
]
EXPERIMENTS = {
    name: {"title": name, "policy": policy, "mode": "live", "seeds": [0]}
    for name, policy in POLICIES.items()
}


def live_settings(layout: Layout) -> Settings:
    return settings_of(layout, {"experiments": EXPERIMENTS, "eval": {"num_shards": 1}})

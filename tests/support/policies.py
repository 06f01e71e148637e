"""Policies by name, rows of signals, and what a policy decides on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from support.properties import st
from vovnet.config import PolicySettings
from vovnet.core.records import signal_columns
from vovnet.policies import kind_of
from vovnet.policies.base import Confidence
from vovnet.policies.decide import Decision, decide
from vovnet.policies.router import fit_groups
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

NO, COARSE, FULL = range(3)
CATEGORIES = ["text", "colour", "print"]
ROUTER = fit_groups(
    np.repeat(CATEGORIES, 2).astype(object),
    np.array([[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 1, 1]], dtype=float),
    np.array([[0, 4, 16]] * 4 + [[0, 2, 8]] * 2, dtype=float),
)
DEPLOYABLE: dict[str, dict[str, Any]] = {
    "vovnet": {"lambda_cost": 0.05},
    "binary": {"lambda_cost": 0.05, "action_space": "binary"},
    "always_full": {"baseline_name": "always_full"},
    "always_coarse": {"baseline_name": "always_coarse"},
    "no_vision": {"baseline_name": "no_vision"},
    "entropy": {"baseline_name": "uncertainty_threshold", "baseline_threshold": 0.5},
    "margin": {
        "baseline_name": "uncertainty_threshold",
        "baseline_uncertainty": "margin",
        "baseline_vision": "coarse",
        "baseline_threshold": 0.5,
    },
    "random": {
        "baseline_name": "random_policy_matched",
        "baseline_target_ratios": (0.5, 0.2, 0.3),
    },
    "buckets": {
        "baseline_name": "random_policy_matched",
        "baseline_bucket_ratios": [(0.8, 0.1, 0.1), (0.1, 0.1, 0.8)],
        "baseline_bucket_thresholds": [1.0],
    },
    "bayes": {"baseline_name": "bayes_router", "lambda_cost": 0.05},
    "size": {"baseline_name": "size_router", "lambda_cost": 0.05},
    "dataset": {"baseline_name": "dataset_router", "lambda_cost": 0.05},
    "fallback": {
        "lambda_cost": 0.1,
        "fallback_mode": "coarse",
        "fallback_entropy_threshold": 1.0,
        "fallback_margin_threshold": 0.1,
    },
    "pruning": {"baseline_name": "vision_token_pruning_proxy", "baseline_pruning_ratio": 0.5},
    "inside": {"lambda_cost": 0.05, "baseline_reduction": "merging", "baseline_merge_ratio": 0.5},
}
"""Policies that see no correctness, by a name for the test."""

ROWS = st.lists(
    st.tuples(
        st.integers(0, 16),  # entropy, in eighths of a nat
        st.integers(0, 16),  # margin, in sixteenths
        st.tuples(*[st.integers(-40, 40)] * 3),  # scores, in quarters
        st.sampled_from([(0, 4, 16), (0, 1, 1), (0, 8, 32)]),
        st.sampled_from([*CATEGORIES, "unseen"]),
    ),
    min_size=1,
    max_size=30,
)


def signals(rows: list[Any]) -> pd.DataFrame:
    table = [
        {
            "id": f"q{index}",
            "entropy": entropy / 8,
            "margin": margin / 16,
            **dict(
                zip(("score_no", "score_coarse", "score_full"), np.array(scores) / 4, strict=True)
            ),
            "text_tokens": 20,
            **{f"tokens_{view}": count for view, count in zip(ACTIONS, tokens, strict=True)},
        }
        for index, (entropy, margin, scores, tokens, _) in enumerate(rows)
    ]
    return pd.DataFrame(table, columns=list(signal_columns(ACTIONS)))


def names(table: pd.DataFrame) -> list[str]:
    """Every row a question of its own."""
    return table["id"].tolist()


def blind_look(rows: np.ndarray, views: np.ndarray) -> Confidence:
    """Views are executed, and tell nothing."""
    nothing = np.full(len(rows), np.nan)
    return Confidence(nothing, nothing, nothing)


def choose(policy: PolicySettings, table: pd.DataFrame, **told: Any) -> Decision:
    """What a policy decides that looks once."""
    return decide(policy, ACTIONS, table, blind_look, **told)


def decided(policy: dict[str, Any], table: pd.DataFrame, groups: list[str]) -> Decision:
    chosen = PolicySettings(**policy)
    routed = kind_of(chosen).router is not None
    return choose(
        chosen,
        table,
        questions=names(table),
        expected=ROUTER.expected(np.array(groups, dtype=object)) if routed else None,
    )


def actions(policy: dict[str, Any], rows: list[Any]) -> list[int]:
    return decided(policy, signals(rows), [row[-1] for row in rows]).actions.tolist()


def question(
    entropy: float = 0, margin: float = 1, scores: tuple[float, ...] = (0, 0, 0)
) -> tuple[Any, ...]:
    """A row for `signals`, in its units."""
    return (entropy * 8, margin * 16, tuple(4 * score for score in scores), (0, 4, 16), "text")

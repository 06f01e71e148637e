"""Policies: pure functions from the signals of the text pass to an action per sample.

`decide` is the one entry. A policy is a function of `PolicyInputs` that returns an index
into `settings.actions` per row; `POLICIES` names it and says what else it reads. See
docs/policies.md for how to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vovnet.config import PolicySettings
from vovnet.core.records import signal_columns
from vovnet.policies import fixed, learned, oracle, randomized, router, uncertainty
from vovnet.policies.base import Actions, Bools, Floats, GroupKey, PolicyInputs, Router
from vovnet.policies.reduced import (
    chosen_views,
    experiment_views,
    needed_views,
    reduced_views,
    reduction_columns,
)
from vovnet.policies.router import fit_router, group_of
from vovnet.policies.uncertainty import overrule
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

__all__ = [
    "POLICIES",
    "Decision",
    "PolicyKind",
    "Router",
    "check_complete",
    "chosen_views",
    "decide",
    "experiment_views",
    "fit_router",
    "group_of",
    "kind_of",
    "needed_views",
    "reduced_views",
    "setting_columns",
]


@dataclass(frozen=True)
class PolicyKind:
    """A policy and what it reads besides the signals; `router` is what a fitted one knows."""

    choose: Callable[[PolicyInputs], Actions]
    reads_lambda: bool = False
    reads_threshold: bool = False
    reads_correctness: bool = False
    router: GroupKey | None = None


POLICIES: dict[str | None, PolicyKind] = {
    None: PolicyKind(learned.highest_value, reads_lambda=True),
    "no_vision": PolicyKind(fixed.no_vision),
    "always_coarse": PolicyKind(fixed.always_coarse),
    "always_full": PolicyKind(fixed.always_full),
    "uncertainty_threshold": PolicyKind(uncertainty.threshold, reads_threshold=True),
    "random_policy_matched": PolicyKind(randomized.matched),
    "bayes_router": PolicyKind(router.by_sample_cost, reads_lambda=True, router="category"),
    "size_router": PolicyKind(router.by_sample_cost, reads_lambda=True, router="image_size"),
    "dataset_router": PolicyKind(router.by_group_cost, reads_lambda=True, router="dataset"),
    "oracle": PolicyKind(oracle.cheapest_correct, reads_correctness=True),
    "oracle_full_correct": PolicyKind(oracle.cheapest_as_full, reads_correctness=True),
    "vision_token_pruning_proxy": PolicyKind(fixed.always_reduced),
    "token_merge_prune_proxy": PolicyKind(fixed.always_reduced),
    "resolution_scaling_proxy": PolicyKind(fixed.always_reduced),
    "multi_granularity_proxy": PolicyKind(fixed.always_reduced),
}
"""By `policy.baseline_name`; None is the learned policy, VoVNet itself."""


@dataclass(frozen=True)
class Decision:
    """Index into `settings.actions` and whether the fallback overruled a NO, both (N,).

    The index is -1 where the policy shows its reduced view; `chosen_views` names what is shown.
    """

    actions: Actions
    fallback_triggered: Bools


def decide(
    policy: PolicySettings,
    signals: pd.DataFrame,
    *,
    questions: Sequence[str],
    scores_NA_correct: Floats | None = None,
    groups: Sequence[str] | None = None,
    router: Router | None = None,
) -> Decision:
    """Choose an action per row of `signals` (columns: `records.signal_columns`).

    `questions` names the question of each row, (N,): circular passes of one share its name.
    Oracles need `scores_NA_correct`, the correctness in [0, 1] of each action, and no other
    policy may be given it: answers never reach a policy that could be deployed (contract 1).
    A router needs the fitted `router` and the `groups` of the samples. The fallback applies last.
    """
    kind = kind_of(policy)
    assert set(signals.columns) == set(signal_columns(ACTIONS)), sorted(signals.columns)
    assert (scores_NA_correct is not None) == kind.reads_correctness, policy.baseline_name
    assert (router is not None) == (kind.router is not None), policy.baseline_name
    inputs = PolicyInputs(policy, signals, questions, scores_NA_correct, groups, router)
    chosen_N = kind.choose(inputs).astype(np.int64)
    actions_N = overrule(inputs, chosen_N)
    return Decision(actions_N, actions_N != chosen_N)


def check_complete(policy: PolicySettings) -> None:
    """Refuse a policy that lacks a setting, with the words of `decide`, before any model runs."""
    kind = kind_of(policy)
    if kind.router is not None:  # it is fitted on observations, and reads no setting of its own
        return
    nothing = pd.DataFrame(columns=list(signal_columns(ACTIONS)))
    correct_NA = np.zeros((0, len(ACTIONS))) if kind.reads_correctness else None
    decide(policy, nothing, questions=[], scores_NA_correct=correct_NA)


def kind_of(policy: PolicySettings) -> PolicyKind:
    """The policy that `baseline_name` stands for."""
    return POLICIES[policy.baseline_name]


def setting_columns(policy: PolicySettings, *, matched: bool = False) -> dict[str, str | float]:
    """What results.csv says about a policy: its name and the settings that it reads.

    A policy `matched` to another's action ratios carries the `lambda_cost` of its match.
    """
    kind = kind_of(policy)
    columns: dict[str, str | float] = {"baseline_name": policy.baseline_name or ""}
    if kind.reads_lambda or matched:
        columns["lambda_cost"] = policy.lambda_cost
    if kind.reads_threshold and policy.baseline_threshold is not None:
        columns["threshold"] = policy.baseline_threshold
    return columns | reduction_columns(policy)

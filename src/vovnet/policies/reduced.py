"""Which views a policy shows: those of the actions, or reduced ones.

A proxy always shows one reduced view. Any other policy may reduce whatever it chose to show
(`baseline_reduction`): the action is chosen first, at the actions' own costs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vovnet.config import PolicySettings, Settings, policy_points, run_settings
from vovnet.config.experiments import experiment_seeds, experiment_sets
from vovnet.core.cost import Merge, Pool, Prune, Reduction, ViewBudget
from vovnet.core.errors import ConfigError
from vovnet.core.records import ACTIONS
from vovnet.policies.base import Actions
from vovnet.views import View, parse_view


def chosen_views(policy: PolicySettings, actions_N: Actions) -> NDArray[np.object_]:
    """The name of the view that each decision shows, (N,)."""
    # The index -1 stands for the reduced view, which comes last.
    return np.array(_views(policy), dtype=object)[actions_N]


def reduced_views(policy: PolicySettings) -> list[str]:
    """The views beside those of the actions that a policy may show."""
    return [name for name in dict.fromkeys(_views(policy)) if name not in ACTIONS]


def needed_views(settings: Settings, run: str, seed: int, eval_set: str) -> list[str]:
    """The reduced views of a trained model that the replayed experiments on a set show."""
    found: dict[str, None] = {}
    for name, item in settings.experiments.items():
        if (
            item.mode == "replay"
            and item.run == run
            and seed in experiment_seeds(settings, name)
            and eval_set in experiment_sets(settings, name)
        ):
            for policy in policy_points(run_settings(settings, run), name):
                found |= dict.fromkeys(reduced_views(policy))
    return sorted(found)


def reduction_columns(policy: PolicySettings) -> dict[str, float]:
    """What results.csv says about the reductions of a policy."""
    view = parse_view(_views(policy)[-1])
    columns: dict[str, float] = {}
    for reduction in view.reductions:
        match reduction:
            case Prune(_, ratio):
                columns["pruning_ratio"] = ratio
            case Merge(_, _, ratio):
                columns["merge_ratio"] = ratio
            case Pool(factor):
                columns["pool_factor"] = factor
    if isinstance(view.budget, ViewBudget):
        if view.budget.long_side is not None:
            columns["long_side"] = view.budget.long_side
        if view.budget.max_pixels is not None:
            columns["max_pixels"] = view.budget.max_pixels
    return columns


def _views(policy: PolicySettings) -> list[str]:
    """Names of what NO, COARSE and FULL show, and for a proxy that of its own view."""
    proxy = _PROXIES.get(policy.baseline_name or "")
    if policy.baseline_reduction is None:
        return [*ACTIONS] if proxy is None else [*ACTIONS, proxy(policy).name]
    if proxy is not None or policy.baseline_name in ("oracle", "oracle_full_correct"):
        raise ConfigError(
            f"policy.baseline_reduction: {policy.baseline_name!r} cannot be reduced once more,"
            " expected a policy that chooses among NO, COARSE and FULL by the signals"
        )
    reductions = (_INSIDE[policy.baseline_reduction](policy),)
    return ["no", *(View(action, reductions).name for action in ACTIONS[1:])]


def _prune(policy: PolicySettings) -> Reduction:
    return Prune(policy.baseline_pruning_mode, policy.baseline_pruning_ratio)


def _merge(policy: PolicySettings) -> Reduction:
    return Merge(
        policy.baseline_merge_mode, policy.baseline_merge_weight, policy.baseline_merge_ratio
    )


def _pruned(policy: PolicySettings) -> View:
    return View("full", (_prune(policy),))


def _merged(policy: PolicySettings) -> View:
    if not policy.baseline_enable_prune:
        return View("full", (_merge(policy),))
    if policy.baseline_pruning_ratio == 1:
        raise ConfigError(
            "policy.baseline_enable_prune: needs a baseline_pruning_ratio below 1, got 1"
        )
    return View("full", (_merge(policy), _prune(policy)))


def _rescaled(policy: PolicySettings) -> View:
    mode = policy.baseline_budget_mode
    limit = getattr(policy, f"baseline_{mode}")
    if limit is None:
        raise ConfigError(
            f"policy.baseline_{mode}: resolution_scaling_proxy with baseline_budget_mode {mode}"
            " needs a number of pixels"
        )
    return View(ViewBudget(limit, None) if mode == "long_side" else ViewBudget(None, limit))


def _pooled(policy: PolicySettings) -> View:
    return View("full", (Pool(policy.baseline_pool_factor),))


_PROXIES: dict[str, Callable[[PolicySettings], View]] = {
    "vision_token_pruning_proxy": _pruned,
    "token_merge_prune_proxy": _merged,
    "resolution_scaling_proxy": _rescaled,
    "multi_granularity_proxy": _pooled,
}
_INSIDE: dict[str, Callable[[PolicySettings], Reduction]] = {"pruning": _prune, "merging": _merge}

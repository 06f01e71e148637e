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
from vovnet.core.errors import ConfigError
from vovnet.policies.base import Actions
from vovnet.views import DEFAULT_ACTIONS as ACTIONS
from vovnet.views import parse_view
from vovnet.views.reductions.base import ratio_text


def chosen_views(policy: PolicySettings, actions_N: Actions) -> NDArray[np.object_]:
    """The name of the view that each decision shows, (N,)."""
    # The index -1 stands for the reduced view, which comes last.
    return np.array(_views(policy), dtype=object)[actions_N]


def reduced_views(policy: PolicySettings) -> list[str]:
    """The views beside those of the actions that a policy may show."""
    return [name for name in dict.fromkeys(_views(policy)) if name not in ACTIONS]


def experiment_views(settings: Settings, name: str) -> list[str]:
    """The views beside those of the actions that an experiment may show."""
    points = policy_points(run_settings(settings, settings.experiments[name].run), name)
    return list(dict.fromkeys(view for point in points for view in reduced_views(point)))


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
            found |= dict.fromkeys(experiment_views(settings, name))
    return sorted(found)


def reduction_columns(policy: PolicySettings) -> dict[str, float]:
    """What results.csv says about the reductions of a policy."""
    return parse_view(_views(policy)[-1]).columns


def _views(policy: PolicySettings) -> list[str]:
    """Names of what NO, COARSE and FULL show, and for a proxy that of its own view."""
    proxy = _PROXIES.get(policy.baseline_name or "")
    if policy.baseline_reduction is None:
        return [*ACTIONS] if proxy is None else [*ACTIONS, parse_view(proxy(policy)).name]
    if proxy is not None or policy.baseline_name in ("oracle", "oracle_full_correct"):
        raise ConfigError(
            f"policy.baseline_reduction: {policy.baseline_name!r} cannot be reduced once more,"
            " expected a policy that chooses among NO, COARSE and FULL by the signals"
        )
    reduction = _INSIDE[policy.baseline_reduction](policy)
    return ["no", *(parse_view(f"{action}+{reduction}").name for action in ACTIONS[1:])]


def _prune(policy: PolicySettings) -> str:
    return f"prune-{policy.baseline_pruning_mode}-{ratio_text(policy.baseline_pruning_ratio)}"


def _merge(policy: PolicySettings) -> str:
    mode, weight = policy.baseline_merge_mode, policy.baseline_merge_weight
    return f"merge-{mode}-{weight}-{ratio_text(policy.baseline_merge_ratio)}"


def _pruned(policy: PolicySettings) -> str:
    return f"full+{_prune(policy)}"


def _merged(policy: PolicySettings) -> str:
    if not policy.baseline_enable_prune:
        return f"full+{_merge(policy)}"
    if policy.baseline_pruning_ratio == 1:
        raise ConfigError(
            "policy.baseline_enable_prune: needs a baseline_pruning_ratio below 1, got 1"
        )
    return f"full+{_merge(policy)}+{_prune(policy)}"


def _rescaled(policy: PolicySettings) -> str:
    mode = policy.baseline_budget_mode
    limit = getattr(policy, f"baseline_{mode}")
    if limit is None:
        raise ConfigError(
            f"policy.baseline_{mode}: resolution_scaling_proxy with baseline_budget_mode {mode}"
            " needs a number of pixels"
        )
    return f"side-{limit}" if mode == "long_side" else f"pixels-{limit}"


def _pooled(policy: PolicySettings) -> str:
    return f"full+pool-{policy.baseline_pool_factor}"


_PROXIES: dict[str, Callable[[PolicySettings], str]] = {
    "vision_token_pruning_proxy": _pruned,
    "token_merge_prune_proxy": _merged,
    "resolution_scaling_proxy": _rescaled,
    "multi_granularity_proxy": _pooled,
}
_INSIDE: dict[str, Callable[[PolicySettings], str]] = {"pruning": _prune, "merging": _merge}

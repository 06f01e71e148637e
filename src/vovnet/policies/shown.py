"""Which views a policy may show, and what results.csv says about its settings."""

from __future__ import annotations

from collections.abc import Sequence

from vovnet.config import PolicySettings
from vovnet.core.errors import ConfigError
from vovnet.policies import kind_of
from vovnet.views import parse_view
from vovnet.views.reductions.base import ratio_text


def pruning(policy: PolicySettings) -> str:
    """The pruning that the policy's keys describe."""
    return f"prune-{policy.baseline_pruning_mode}-{ratio_text(policy.baseline_pruning_ratio)}"


def merging(policy: PolicySettings) -> str:
    """The merging that the policy's keys describe."""
    mode, weight = policy.baseline_merge_mode, policy.baseline_merge_weight
    return f"merge-{mode}-{weight}-{ratio_text(policy.baseline_merge_ratio)}"


_BY_KEYS = {"pruning": pruning, "merging": merging}


def choices(policy: PolicySettings, actions: Sequence[str]) -> list[str]:
    """The views that a policy chooses from: the actions, then those that are its own."""
    return list(dict.fromkeys([*actions, *kind_of(policy).views(policy)]))


def shown_views(policy: PolicySettings, actions: Sequence[str]) -> list[str]:
    """What a policy shows for each of its choices; `policy.reduce` reduces every look.

    The action is chosen first, at the actions' own costs.
    """
    return [_reduced(name, policy) for name in choices(policy, actions)]


def further_views(policy: PolicySettings, actions: Sequence[str]) -> list[str]:
    """The views beside the actions that a policy may show."""
    names = dict.fromkeys(shown_views(policy, actions))
    return [name for name in names if name not in actions]


def setting_columns(policy: PolicySettings, *, matched: bool = False) -> dict[str, str | float]:
    """What results.csv says about a policy: its name, and the settings that it follows.

    A policy `matched` to another's action ratios carries the `lambda_cost` of its match.
    """
    kind = kind_of(policy)
    columns: dict[str, str | float] = {"baseline_name": policy.baseline_name or ""}
    if matched:
        columns["lambda_cost"] = policy.lambda_cost
    told = {name: tell(policy) for name, tell in kind.columns.items()}
    columns |= {name: value for name, value in told.items() if value is not None}
    # Of several views of its own the last one is the dearest, and tells them apart.
    own = (kind.views(policy) or ["full"])[-1]
    return columns | parse_view(_reduced(own, policy)).columns


def _reduced(name: str, policy: PolicySettings) -> str:
    """A view as `reduce` or `baseline_reduction` leaves it."""
    if name == "no" or (policy.baseline_reduction is None and policy.reduce is None):
        return name
    key = "baseline_reduction" if policy.reduce is None else "reduce"
    if policy.baseline_reduction is not None and policy.reduce is not None:
        raise ConfigError("policy.reduce: expected none beside baseline_reduction")
    if not kind_of(policy).reducible:
        raise ConfigError(
            f"policy.{key}: {policy.baseline_name!r} cannot be reduced once more,"
            " expected a policy that chooses among the actions by the signals"
        )
    reduction = policy.reduce or _BY_KEYS[str(policy.baseline_reduction)](policy)
    return parse_view(f"{name}+{reduction}").name

"""The four proxies, which show every image with fewer vision tokens than FULL."""

from collections.abc import Callable

from vovnet.config import PolicySettings
from vovnet.core.arrays import Ints
from vovnet.core.errors import ConfigError
from vovnet.policies.base import PolicyInputs, PolicyKind
from vovnet.policies.decide import merging, pruning
from vovnet.views import parse_view


def _pruned(policy: PolicySettings) -> str:
    return f"full+{pruning(policy)}"


def _merged(policy: PolicySettings) -> str:
    if not policy.baseline_enable_prune:
        return f"full+{merging(policy)}"
    if policy.baseline_pruning_ratio == 1:
        raise ConfigError(
            "policy.baseline_enable_prune: needs a baseline_pruning_ratio below 1, got 1"
        )
    return f"full+{merging(policy)}+{pruning(policy)}"


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


def _proxy(description: str, view: Callable[[PolicySettings], str], *settings: str) -> PolicyKind:
    """A policy that always shows one view, which its settings describe."""

    def views(policy: PolicySettings) -> list[str]:
        return [parse_view(view(policy)).name]

    def first(inputs: PolicyInputs) -> Ints:
        return inputs.always(*views(inputs.policy))

    return PolicyKind(description, first, settings=settings, views=views, reducible=False)


PRUNING = ("baseline_pruning_ratio", "baseline_pruning_mode")

POLICIES = {
    "vision_token_pruning_proxy": _proxy("Always shows FULL, pruned.", _pruned, *PRUNING),
    "token_merge_prune_proxy": _proxy(
        "Always shows FULL, merged and, on demand, pruned.",
        _merged,
        "baseline_merge_ratio",
        "baseline_merge_mode",
        "baseline_merge_weight",
        "baseline_enable_prune",
        *PRUNING,
    ),
    "resolution_scaling_proxy": _proxy(
        "Always shows the image at another size.",
        _rescaled,
        "baseline_budget_mode",
        "baseline_long_side",
        "baseline_max_pixels",
    ),
    "multi_granularity_proxy": _proxy(
        "Always shows FULL, pooled.", _pooled, "baseline_pool_factor"
    ),
}

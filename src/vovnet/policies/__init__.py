"""Policies by name. A policy is a module of this package and an entry in the table below.

Its module holds a `PolicyKind` for each of its names in `POLICIES`: see docs/policies.md.
"""

from vovnet.config import PolicySettings
from vovnet.core.errors import ConfigError
from vovnet.core.registry import load_entry
from vovnet.policies.base import PolicyKind

MODULES: dict[str | None, str] = {
    None: "vovnet.policies.learned",
    "no_vision": "vovnet.policies.fixed",
    "always_coarse": "vovnet.policies.fixed",
    "always_full": "vovnet.policies.fixed",
    "always_view": "vovnet.policies.fixed",
    "uncertainty_threshold": "vovnet.policies.uncertainty",
    "cascade": "vovnet.policies.cascade",
    "random_policy_matched": "vovnet.policies.randomized",
    "bayes_router": "vovnet.policies.router",
    "size_router": "vovnet.policies.router",
    "dataset_router": "vovnet.policies.router",
    "probe": "vovnet.policies.heads",
    "bag_of_words": "vovnet.policies.heads",
    "nearest_neighbours": "vovnet.policies.heads",
    "oracle": "vovnet.policies.oracle",
    "oracle_full_correct": "vovnet.policies.oracle",
    "vision_token_pruning_proxy": "vovnet.policies.reduced",
    "token_merge_prune_proxy": "vovnet.policies.reduced",
    "resolution_scaling_proxy": "vovnet.policies.reduced",
    "multi_granularity_proxy": "vovnet.policies.reduced",
}
"""`policy.baseline_name` -> the module that declares it; None is the learned policy, VoVNet."""

FALLBACK = "vovnet.policies.fallback"
"""The module of `policy.fallback_mode`, which is added to any other policy."""


def baseline_names() -> list[str]:
    """What `policy.baseline_name` may be."""
    return [name for name in MODULES if name is not None]


BY_CORRECTNESS = "vovnet.policies.heads"
"""The module of `policy.objective: correctness`, by which VoVNet follows a head fitted there."""


def by_correctness(policy: PolicySettings) -> bool:
    """Whether the policy is VoVNet with a head that is fitted afterwards on correctness."""
    return policy.baseline_name is None and policy.objective == "correctness"


def spelled(policy: PolicySettings) -> str:
    """The setting by which a policy is chosen, as errors name it."""
    if by_correctness(policy):
        return f"policy.objective: {policy.objective!r}"
    return f"policy.baseline_name: {policy.baseline_name!r}"


def named_kind(name: str | None) -> PolicyKind:
    """The policy of a name; an unknown name is an error that lists the known ones."""
    if name not in MODULES:
        raise ConfigError(
            f"policy.baseline_name: no policy named {name!r}, expected one of {baseline_names()}"
        )
    kinds: dict[str | None, PolicyKind] = load_entry(__name__, MODULES[name], "POLICIES")
    if name not in kinds:
        raise ConfigError(f"{__name__}: {MODULES[name]!r} declares no policy {name!r}")
    return kinds[name]


def kind_of(policy: PolicySettings) -> PolicyKind:
    """The policy that the settings stand for, with its objective and its fallback."""
    kind = named_kind(policy.baseline_name)
    if by_correctness(policy):
        kind = load_entry(__name__, BY_CORRECTNESS, "by_correctness")(kind)
    if policy.fallback_mode is None:
        return kind
    with_fallback: PolicyKind = load_entry(__name__, FALLBACK, "with_fallback")(kind, policy)
    return with_fallback

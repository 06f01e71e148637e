"""Policies that treat every sample alike."""

from vovnet.config import PolicySettings
from vovnet.core.arrays import Ints
from vovnet.core.errors import ConfigError
from vovnet.policies.base import PolicyInputs, PolicyKind


def _always(view: str) -> PolicyKind:
    def first(inputs: PolicyInputs) -> Ints:
        return inputs.always(view)

    return PolicyKind(f"Always shows `{view}`.", first, views=lambda policy: [view])


def _configured(policy: PolicySettings) -> str:
    if policy.view is None:
        raise ConfigError("policy.view: always_view needs the name of a view")
    return policy.view


POLICIES = {
    "no_vision": _always("no"),
    "always_coarse": _always("coarse"),
    "always_full": _always("full"),
    "always_view": PolicyKind(
        "Always shows the view of `policy.view`, which may be any.",
        lambda inputs: inputs.always(_configured(inputs.policy)),
        settings=("view",),
        views=lambda policy: [_configured(policy)],
    ),
}


def always_shown(policy: PolicySettings) -> str | None:
    """The view that a fixed policy shows for every question; None of any other policy.

    A fixed policy with a fallback or a reduction is no fixed policy any more.
    """
    name = policy.baseline_name
    return POLICIES[name].views(policy)[0] if name in POLICIES and is_plain(policy) else None


def is_plain(policy: PolicySettings) -> bool:
    """Whether a policy shows what it chose: no fallback overrules it, and no reduction follows."""
    changes = (policy.fallback_mode, policy.reduce, policy.baseline_reduction)
    return changes == (None, None, None)

"""The fallback: a NO is overruled where the text pass is unsure (specification, block E1)."""

from dataclasses import replace

import numpy as np

from vovnet.config import PolicySettings
from vovnet.core.arrays import Ints
from vovnet.core.errors import ConfigError
from vovnet.policies.base import NO, STOP, Confidence, PolicyInputs, PolicyKind, yes


def overrule(inputs: PolicyInputs, at_N: Ints, confidence: Confidence) -> Ints:
    """After a NO, look with `fallback_mode` where entropy or margin crosses its threshold.

    Both are the text pass's, which is what a NO is answered from, so that the driver asks before
    the NO is executed.
    """
    policy = inputs.policy
    assert policy.fallback_mode is not None
    unsure_N = np.zeros(inputs.num_samples, dtype=bool)
    if policy.fallback_entropy_threshold is not None:
        unsure_N |= inputs.signal("entropy") > policy.fallback_entropy_threshold
    if policy.fallback_margin_threshold is not None:
        unsure_N |= inputs.signal("margin") < policy.fallback_margin_threshold
    return np.where((at_N == NO) & unsure_N, inputs.index(policy.fallback_mode), STOP)


def with_fallback(kind: PolicyKind, policy: PolicySettings) -> PolicyKind:
    """The policy with a fallback; one that looks again by itself cannot have one too."""
    if kind.again is not None:
        raise ConfigError(
            f"policy.fallback_mode: {policy.baseline_name!r} decides itself whether it looks"
            " again, expected null"
        )
    if policy.fallback_mode == "no":
        raise ConfigError("policy.fallback_mode: expected a view that looks, got 'no'")
    if policy.fallback_entropy_threshold is None and policy.fallback_margin_threshold is None:
        raise ConfigError(
            "policy.fallback_mode: needs fallback_entropy_threshold or fallback_margin_threshold"
        )

    def views(policy: PolicySettings) -> list[str]:
        assert policy.fallback_mode is not None
        return [*kind.views(policy), policy.fallback_mode]

    return replace(kind, again=overrule, views=views, reads_text_pass=yes)

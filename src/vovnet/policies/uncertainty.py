"""Looking when the text pass is unsure: as a policy of its own, and as a fallback to NO."""

from __future__ import annotations

import numpy as np

from vovnet.core.errors import ConfigError
from vovnet.policies.base import NO, Actions, PolicyInputs
from vovnet.views import DEFAULT_ACTIONS as ACTIONS


def threshold(inputs: PolicyInputs) -> Actions:
    """Look with `baseline_vision` where entropy > t (nats), or margin < t; otherwise NO."""
    policy = inputs.policy
    limit = policy.baseline_threshold
    if limit is None:
        raise ConfigError("policy.baseline_threshold: uncertainty_threshold needs a number")
    if policy.baseline_uncertainty == "entropy":
        unsure_N = inputs.signal("entropy") > limit
    else:
        unsure_N = inputs.signal("margin") < limit
    return np.where(unsure_N, ACTIONS.index(policy.baseline_vision), NO)


def overrule(inputs: PolicyInputs, actions_N: Actions) -> Actions:
    """Turn a NO into `fallback_mode` where entropy or margin crosses the fallback's threshold."""
    policy = inputs.policy
    if policy.fallback_mode is None:
        return actions_N
    entropy, margin = policy.fallback_entropy_threshold, policy.fallback_margin_threshold
    if entropy is None and margin is None:
        raise ConfigError(
            "policy.fallback_mode: needs fallback_entropy_threshold or fallback_margin_threshold"
        )
    unsure_N = np.zeros(inputs.num_samples, dtype=bool)
    if entropy is not None:
        unsure_N |= inputs.signal("entropy") > entropy
    if margin is not None:
        unsure_N |= inputs.signal("margin") < margin
    overruled_N = (actions_N == NO) & unsure_N
    return np.where(overruled_N, ACTIONS.index(policy.fallback_mode), actions_N)

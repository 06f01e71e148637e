"""Looking where the text pass is unsure."""

import numpy as np

from vovnet.config import PolicySettings
from vovnet.core.errors import ConfigError
from vovnet.policies.base import NO, Ints, PolicyInputs, PolicyKind, yes


def threshold(inputs: PolicyInputs) -> Ints:
    """Look with `baseline_vision` where entropy > t (nats), or margin < t; otherwise NO."""
    policy = inputs.policy
    limit = policy.baseline_threshold
    if limit is None:
        raise ConfigError("policy.baseline_threshold: uncertainty_threshold needs a number")
    if policy.baseline_uncertainty == "entropy":
        unsure_N = inputs.signal("entropy") > limit
    else:
        unsure_N = inputs.signal("margin") < limit
    return np.where(unsure_N, inputs.index(policy.baseline_vision), NO)


def _vision(policy: PolicySettings) -> list[str]:
    return [policy.baseline_vision]


POLICIES = {
    "uncertainty_threshold": PolicyKind(
        "Looks where the text pass's entropy is above a threshold, or its margin below.",
        threshold,
        settings=("baseline_uncertainty", "baseline_threshold", "baseline_vision"),
        columns={"threshold": lambda policy: policy.baseline_threshold},
        views=_vision,
        reads_text_pass=yes,
    )
}

"""Looking where the text pass is unsure."""

import numpy as np

from vovnet.config import PolicySettings
from vovnet.core.arrays import Floats, Ints
from vovnet.core.errors import ConfigError
from vovnet.policies.base import NO, PolicyInputs, PolicyKind, Scalar, Told, yes


def threshold(inputs: PolicyInputs) -> Ints:
    """Look with `baseline_vision` where entropy > t (nats), or margin < t; otherwise NO."""
    policy = inputs.policy
    if policy.baseline_threshold is None:
        raise ConfigError("policy.baseline_threshold: uncertainty_threshold needs a number")
    limit = inputs.scalar(policy.baseline_threshold)
    if policy.baseline_uncertainty == "entropy":
        unsure_N = inputs.signal("entropy") > limit
    else:
        unsure_N = inputs.signal("margin") < limit
    return np.where(unsure_N, inputs.index(policy.baseline_vision), NO)


def _vision(policy: PolicySettings) -> list[str]:
    return [policy.baseline_vision]


def _switches(inputs: PolicyInputs, told: Told) -> Floats:
    """A row is looked at on one side of its own uncertainty."""
    return inputs.signal(inputs.policy.baseline_uncertainty)[:, None]


POLICIES = {
    "uncertainty_threshold": PolicyKind(
        "Looks where the text pass's entropy is above a threshold, or its margin below.",
        threshold,
        settings=("baseline_uncertainty", "baseline_threshold", "baseline_vision"),
        columns={"threshold": lambda policy: policy.baseline_threshold},
        views=_vision,
        reads_text_pass=yes,
        scalar=lambda policy: Scalar("baseline_threshold", _switches),
    )
}

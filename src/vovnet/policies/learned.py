"""VoVNet: the policy head's scores against the cost of looking."""

from __future__ import annotations

import numpy as np

from vovnet.core.cost import choose_actions
from vovnet.policies.base import FULL, NO, Actions, PolicyInputs
from vovnet.views import DEFAULT_ACTIONS as ACTIONS


def highest_value(inputs: PolicyInputs) -> Actions:
    """argmax_a (score_a - lambda_cost * cost_a); a binary action space has no COARSE."""
    binary = inputs.policy.action_space == "binary"
    allowed = np.array([NO, FULL] if binary else range(len(ACTIONS)))
    scores_NA = np.stack([inputs.signal(f"score_{ACTIONS[action]}") for action in allowed], axis=1)
    costs_NA = inputs.costs[:, allowed]
    return allowed[choose_actions(scores_NA, costs_NA, inputs.policy.lambda_cost)]

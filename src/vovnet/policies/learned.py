"""VoVNet: the policy head's scores against the cost of looking."""

import numpy as np

from vovnet.core.cost import allowed_actions, choose_actions
from vovnet.policies.base import Ints, PolicyInputs, PolicyKind, lambda_cost, yes


def highest_value(inputs: PolicyInputs) -> Ints:
    """argmax_a (score_a - lambda_cost * cost_a)."""
    allowed = np.array(allowed_actions(inputs.actions, inputs.policy.action_space))
    names = [f"score_{inputs.actions[action]}" for action in allowed]
    scores_NA = np.stack([inputs.signal(name) for name in names], axis=1)
    costs_NA = inputs.costs[:, allowed]
    return allowed[choose_actions(scores_NA, costs_NA, inputs.policy.lambda_cost)]


POLICIES = {
    None: PolicyKind(
        "VoVNet: the action of the highest `score_a - lambda_cost * cost_a`.",
        highest_value,
        settings=("lambda_cost", "action_space"),
        columns={"lambda_cost": lambda_cost},
        reads_text_pass=yes,
        reads_scores=True,
    )
}

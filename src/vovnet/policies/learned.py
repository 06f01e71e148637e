"""VoVNet: what the policy head says that each action is worth, against the cost of looking."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vovnet.config import PolicySettings
from vovnet.core.arrays import Floats, Ints
from vovnet.core.cost import action_values, allowed_actions, choose_actions, expected_cost
from vovnet.policies.base import LAMBDA, PolicyInputs, PolicyKind, by_lambda, yes


def highest_value(inputs: PolicyInputs) -> Ints:
    """argmax_a (worth_a - lambda_cost * cost_a)."""
    price = inputs.scalar(inputs.policy.lambda_cost)
    return _allowed(inputs)[choose_actions(*_worth(inputs), price)]


def values_by_action(
    policy: PolicySettings, actions: Sequence[str], signals: Mapping[str, Any]
) -> dict[str, float]:
    """What each action is worth on one question, in nats, from the signals of its text pass."""
    chosen = allowed_actions(actions, policy.action_space)
    names = [actions[action] for action in chosen]
    scores_1A = [[signals[f"score_{name}"] for name in names]]
    costs_1A = expected_cost([[signals[f"tokens_{name}"] for name in names]], policy.cost_scale)
    (values_A,) = action_values(scores_1A, costs_1A, policy.lambda_cost).tolist()
    return dict(zip(names, values_A, strict=True))


def _allowed(inputs: PolicyInputs) -> Ints:
    return np.array(allowed_actions(inputs.actions, inputs.policy.action_space))


def _worth(inputs: PolicyInputs) -> tuple[Floats, Floats]:
    """Scores, or the expected correctness, and costs of the actions that are allowed."""
    allowed = _allowed(inputs)
    if inputs.expected is not None:
        return inputs.expected.correctness[:, allowed], inputs.costs[:, allowed]
    names = [f"score_{inputs.actions[action]}" for action in allowed]
    return np.stack([inputs.signal(name) for name in names], axis=1), inputs.costs[:, allowed]


POLICIES = {
    None: PolicyKind(
        "VoVNet: the action of the highest `score_a - lambda_cost * cost_a`; with `objective:"
        " correctness` of a head that is fitted afterwards on `data.router_fit`.",
        highest_value,
        settings=("lambda_cost", "lambda_unit", "action_space", "objective"),
        columns=LAMBDA,
        reads_text_pass=yes,
        reads_scores=True,
        scalar=by_lambda(_worth),
    )
}

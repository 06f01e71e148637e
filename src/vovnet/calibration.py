"""Whether the policy head knows what looking is worth, on questions with known answers.

Training checks scores against losses, in nats, on questions it held out (calibration.json).
Here they are held against correctness, on the evaluation sets. Shapes: N samples, A actions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vovnet.config import PolicySettings
from vovnet.cost import choose_actions, expected_cost
from vovnet.records import ACTIONS
from vovnet.stats import Floats, Ints

NUM_BINS = 10


def action_calibration(
    policy: PolicySettings, scores_NA: Floats, tokens_NA: Ints, correct_NA: Floats
) -> dict[str, Any]:
    """The probability of the likeliest action, against how often it is the best one.

    Probabilities are those of training, softmax((score - lambda_cost * cost) / entropy_weight).
    The best action is the oracle's: the cheapest of those that score highest.
    """
    costs_NA = expected_cost(tokens_NA, policy.cost_scale)
    allowed = [0, len(ACTIONS) - 1] if policy.action_space == "binary" else [0, 1, 2]
    probabilities_NA = action_probabilities(policy, scores_NA[:, allowed], costs_NA[:, allowed])
    best_N = choose_actions(correct_NA[:, allowed], costs_NA[:, allowed], lambda_cost=0.0)
    likeliest_N = probabilities_NA.argmax(axis=1)
    predicted_N = probabilities_NA.max(axis=1)
    return {"kind": "action"} | reliability(predicted_N, (likeliest_N == best_N).astype(float))


def value_calibration(value_N: Floats, correct_N2: Floats) -> dict[str, Any]:
    """The predicted value of FULL over NO, in nats, against which of the two is right.

    Scores are log-likelihoods, so sigmoid(value) is how likely FULL's answer is the right one of
    the two. It is held against the questions on which the two differ; how many do not is told.
    """
    differ_N = correct_N2[:, 0] != correct_N2[:, 1]
    predicted_N = 1 / (1 + np.exp(-np.clip(value_N, -700, 700)))
    measured_N = (correct_N2[:, 1] > correct_N2[:, 0]).astype(float)
    found = reliability(predicted_N[differ_N], measured_N[differ_N])
    return {"kind": "value", "num_equal": int((~differ_N).sum())} | found


def action_probabilities(policy: PolicySettings, scores_NA: Floats, costs_NA: Floats) -> Floats:
    """What the trained policy would draw its actions from, (N, A); all on the cheapest at inf."""
    if np.isinf(policy.lambda_cost):
        return (costs_NA == costs_NA.min(axis=1, keepdims=True)).astype(np.float64)
    values_NA = (scores_NA - policy.lambda_cost * costs_NA) / policy.entropy_weight
    weights_NA = np.exp(values_NA - values_NA.max(axis=1, keepdims=True))
    return weights_NA / weights_NA.sum(axis=1, keepdims=True)


def reliability(predicted_N: Floats, measured_N: Floats) -> dict[str, Any]:
    """Expected calibration error (ECE) over equally wide bins of [0, 1], and the bins.

    `ece` is the distance between mean prediction and mean outcome, averaged over samples; it is
    missing where there are none.
    """
    index_N = np.minimum((predicted_N * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    bins = [
        {
            "predicted": float(predicted_N[index_N == index].mean()),
            "measured": float(measured_N[index_N == index].mean()),
            "count": int((index_N == index).sum()),
        }
        for index in sorted(set(index_N.tolist()))
    ]
    gaps = [abs(item["predicted"] - item["measured"]) * item["count"] for item in bins]
    count = len(predicted_N)
    return {"num_samples": count, "ece": sum(gaps) / count if count else None, "bins": bins}

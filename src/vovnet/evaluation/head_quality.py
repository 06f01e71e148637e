"""What the policy head's scores tell, held against right and wrong answers on evaluation sets.

A score is an expected log-likelihood of the gold answer in nats, up to a constant per sample: it
is no probability of being right, and a difference of two scores is no probability that one view
is right and the other wrong. So nothing here is expected to lie on a diagonal: the expected
calibration error (ECE) compares heads, and even one that knows everything does not reach 0. What
can be asked is whether looking helps more where its predicted value is higher, and how much. Score
differences against loss differences, where equality is the aim, are measured by training
(calibration.json).
Shapes: N samples, A actions, Q bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from vovnet.config import PolicySettings
from vovnet.core.arrays import Bools, Floats, Ints
from vovnet.core.cost import choose_actions, expected_cost

NUM_BINS = 10
PROBABILITY_EDGES_Q = np.arange(1, NUM_BINS) / NUM_BINS


def action_reliability(
    policy: PolicySettings, scores_NA: Floats, tokens_NA: Ints, correct_NA: Floats
) -> dict[str, Any]:
    """How often the likeliest action is the best one, by its probability.

    Probabilities are those of training, softmax((score - lambda_cost * cost) / entropy_weight): a
    distribution of given entropy, not a belief about which action is best. The best action is the
    oracle's: the cheapest of those that score highest. Bins are equally wide. All are about the
    actions that the policy may choose.
    """
    costs_NA = expected_cost(tokens_NA, policy.cost_scale)
    probabilities_NA = action_probabilities(policy, scores_NA, costs_NA)
    best_N = choose_actions(correct_NA, costs_NA, lambda_cost=0.0)
    likeliest_N = probabilities_NA.argmax(axis=1)
    predicted_N, is_best_N = probabilities_NA.max(axis=1), likeliest_N == best_N
    facts = _facts(predicted_N, is_best_N.astype(float), is_best_N, PROBABILITY_EDGES_Q)
    return {"kind": "action", "ece": expected_calibration_error(predicted_N, is_best_N)} | facts


def value_reliability(value_N: Floats, correct_N2: Floats) -> dict[str, Any]:
    """The measured benefit of FULL over NO by its predicted value, in nats.

    The benefit is the difference of the two scores, in [-1, 1]. Bins are equally filled, ties
    aside. `auc` is about the questions that FULL answers better than NO. `ece` holds sigmoid(value)
    against which of the two is better, where they differ.
    """
    differ_N = correct_N2[:, 0] != correct_N2[:, 1]
    odds_N = 1 / (1 + np.exp(-np.clip(value_N[differ_N], -700, 700)))
    benefit_N = correct_N2[:, 1] - correct_N2[:, 0]
    edges_Q = np.quantile(value_N, np.arange(1, NUM_BINS) / NUM_BINS) if len(value_N) else value_N
    facts = _facts(value_N, benefit_N, benefit_N > 0, np.unique(edges_Q))
    error = expected_calibration_error(odds_N, benefit_N[differ_N] > 0)
    return {"kind": "value", "ece": error} | facts


def action_probabilities(policy: PolicySettings, scores_NA: Floats, costs_NA: Floats) -> Floats:
    """What the trained policy would draw its actions from, (N, A); all on the cheapest at inf."""
    if np.isinf(policy.lambda_cost):
        return (costs_NA == costs_NA.min(axis=1, keepdims=True)).astype(np.float64)
    values_NA = (scores_NA - policy.lambda_cost * costs_NA) / policy.entropy_weight
    weights_NA = np.exp(values_NA - values_NA.max(axis=1, keepdims=True))
    return weights_NA / weights_NA.sum(axis=1, keepdims=True)


def area_under_roc(predicted_N: Floats, positive_N: Bools) -> float | None:
    """Chance that a positive is predicted higher than a negative, ties counting half.

    Missing where all are alike. 0.5 is what guessing reaches.
    """
    num_positive = int(positive_N.sum())
    num_pairs = num_positive * (len(positive_N) - num_positive)
    if num_pairs == 0:
        return None
    ranks_N = pd.Series(predicted_N).rank().to_numpy()
    least = num_positive * (num_positive + 1) / 2
    return float((ranks_N[positive_N].sum() - least) / num_pairs)


def expected_calibration_error(probability_N: Floats, happened_N: Bools) -> float | None:
    """Distance of mean probability and share that happened in ten bins, averaged over samples.

    Bins are equally wide (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2).
    Missing where there are no samples.
    """
    if not len(probability_N):
        return None
    bins = _bins(probability_N, happened_N.astype(float), PROBABILITY_EDGES_Q)
    gaps = [abs(item["predicted"] - item["measured"]) * item["count"] for item in bins]
    return sum(gaps) / len(probability_N)


def _facts(
    predicted_N: Floats, measured_N: Floats, positive_N: Bools, edges_Q: Floats
) -> dict[str, Any]:
    """`auc`, and the means of prediction and outcome between the edges."""
    return {
        "num_samples": len(predicted_N),
        "auc": area_under_roc(predicted_N, positive_N),
        "bins": _bins(predicted_N, measured_N, edges_Q),
    }


def _bins(predicted_N: Floats, measured_N: Floats, edges_Q: Floats) -> list[dict[str, Any]]:
    index_N = np.searchsorted(edges_Q, predicted_N, side="right")
    return [
        {
            "predicted": float(predicted_N[index_N == index].mean()),
            "measured": float(measured_N[index_N == index].mean()),
            "count": int((index_N == index).sum()),
        }
        for index in sorted(set(index_N.tolist()))
    ]

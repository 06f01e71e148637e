"""What predictions are worth: of the policy head's scores, and of heads that expect correctness.

A score of the trained head is an expected log-likelihood of the gold answer in nats, up to a
constant per sample, and no probability of being right: nothing is expected to lie on a diagonal,
and even a head that knows everything has an expected calibration error (ECE) above 0. What can be
asked is whether looking helps more where its predicted value is higher. Score differences against
loss differences are measured by training (calibration.json).

What a router expects is a correctness, of which equality with what happened is the aim. It has
proper scores, which are lowest in expectation where the expected correctness is told.
Shapes: N rows, A actions, Q bins.
"""

import numpy as np
import pandas as pd

from vovnet.config import PolicySettings
from vovnet.core.arrays import Bools, Floats, Ints
from vovnet.core.bins import NUM_BINS, Bin, binned, mean_gap
from vovnet.core.cost import choose_actions, expected_cost
from vovnet.evaluation.columns import Row

PROBABILITY_EDGES_Q = np.arange(1, NUM_BINS) / NUM_BINS

CERTAIN = 1e-3
"""The least chance that the logarithmic score grants: one wrong answer would else cost anything."""


def correctness_reliability(expected_N: Floats, score_N: Floats) -> Row:
    """How the correctness that was expected of an action agrees with the scores in [0, 1].

    `brier` is the mean squared difference (Brier 1950), which a graded score has too, and
    `brier_of_mean` that of telling the set's own mean every time. `log_loss` is the mean
    cross-entropy in nats (Good 1952), of expectations held within `CERTAIN` of 0 and 1. Bins are
    equally wide.
    """
    held_N = expected_N.clip(CERTAIN, 1 - CERTAIN)
    losses_N = score_N * np.log(held_N) + (1 - score_N) * np.log1p(-held_N)
    return {
        "num_samples": len(score_N),
        "expected": float(expected_N.mean()),
        "measured": float(score_N.mean()),
        "brier": float(np.square(expected_N - score_N).mean()),
        "brier_of_mean": float(score_N.var()),
        "log_loss": -float(losses_N.mean()),
        "ece": expected_calibration_error(expected_N, score_N),
        "bins": _bins(expected_N, score_N, PROBABILITY_EDGES_Q),
    }


def action_reliability(
    policy: PolicySettings, scores_NA: Floats, tokens_NA: Ints, correct_NA: Floats
) -> Row:
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
    return {
        "kind": "action",
        "num_samples": len(predicted_N),
        "auc": area_under_roc(predicted_N, is_best_N),
        "ece": expected_calibration_error(predicted_N, is_best_N),
        "bins": _bins(predicted_N, is_best_N.astype(float), PROBABILITY_EDGES_Q),
    }


def value_reliability(value_N: Floats, correct_N2: Floats) -> Row:
    """The measured benefit of FULL over NO by its predicted value, in nats.

    The benefit is the difference of the two scores, in [-1, 1]. Bins are equally filled, ties
    aside. `auc` is about the questions that FULL answers better than NO. `ece` holds sigmoid(value)
    against which of the two is better, where they differ.
    """
    differ_N = correct_N2[:, 0] != correct_N2[:, 1]
    odds_N = 1 / (1 + np.exp(-np.clip(value_N[differ_N], -700, 700)))
    benefit_N = correct_N2[:, 1] - correct_N2[:, 0]
    edges_Q = np.quantile(value_N, np.arange(1, NUM_BINS) / NUM_BINS) if len(value_N) else value_N
    return {
        "kind": "value",
        "num_samples": len(value_N),
        "auc": area_under_roc(value_N, benefit_N > 0),
        "ece": expected_calibration_error(odds_N, benefit_N[differ_N] > 0),
        "bins": _bins(value_N, benefit_N, np.unique(edges_Q)),
    }


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


def expected_calibration_error(probability_N: Floats, happened_N: Floats | Bools) -> float | None:
    """Distance of mean probability and share that happened in ten bins, averaged over samples.

    Bins are equally wide (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2).
    Missing where there are no samples.
    """
    if not len(probability_N):
        return None
    return mean_gap(_bins(probability_N, happened_N.astype(float), PROBABILITY_EDGES_Q))


def _bins(predicted_N: Floats, measured_N: Floats, edges_Q: Floats) -> list[Bin]:
    """The means of prediction and outcome between the edges."""
    index_N = np.searchsorted(edges_Q, predicted_N, side="right")
    return binned(predicted_N, measured_N, (index_N == index for index in np.unique(index_N)))

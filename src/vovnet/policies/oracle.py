"""Oracles: they read correctness, and say what a perfect choice could reach."""

from __future__ import annotations

import numpy as np

from vovnet.cost import choose_actions
from vovnet.policies.base import FULL, Actions, PolicyInputs


def cheapest_correct(inputs: PolicyInputs) -> Actions:
    """The cheapest of the best-scoring actions; NO where none scores.

    It profits from lucky guesses: a wrong view may name the right letter by chance.
    """
    assert inputs.correctness is not None
    return choose_actions(inputs.correctness, inputs.costs, lambda_cost=0.0)


def cheapest_as_full(inputs: PolicyInputs) -> Actions:
    """Where FULL is right, the cheapest action that is right too; elsewhere FULL.

    Guesses that are right where FULL is wrong count for nothing: with scores of 0 and 1 the
    accuracy is FULL's, at the least cost. A graded score is right when it reaches FULL's.
    """
    assert inputs.correctness is not None
    full_N1 = inputs.correctness[:, FULL:]
    as_good_NA = (inputs.correctness >= full_N1).astype(np.float64)
    cheapest_N = choose_actions(as_good_NA, inputs.costs, lambda_cost=0.0)
    return np.where(full_N1[:, 0] > 0, cheapest_N, FULL)

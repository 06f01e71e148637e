"""Oracles: they read correctness, and say what a perfect choice could reach."""

import numpy as np

from vovnet.core.arrays import Ints, unit_codes, unit_minima
from vovnet.core.cost import choose_actions
from vovnet.policies.base import PolicyInputs, PolicyKind


def cheapest_correct(inputs: PolicyInputs) -> Ints:
    """The cheapest action that scores what its question can score; NO where that is nothing.

    A question scores what the worst of its circular passes does, so that a pass beside one that
    no view answers is not worth a look. It profits from lucky guesses: a wrong view may name the
    right letter by chance.
    """
    assert inputs.correctness is not None
    units_N = unit_codes(inputs.questions)
    reached_N = unit_minima(inputs.correctness.max(axis=1), units_N)[units_N]
    enough_NA = (inputs.correctness >= reached_N[:, None]).astype(np.float64)
    return choose_actions(enough_NA, inputs.costs, lambda_cost=0.0)


def cheapest_as_full(inputs: PolicyInputs) -> Ints:
    """Where FULL is right, the cheapest action that is right too; elsewhere FULL.

    Guesses that are right where FULL is wrong count for nothing: with scores of 0 and 1 the
    accuracy is FULL's, at the least cost. A graded score is right when it reaches FULL's.
    """
    assert inputs.correctness is not None
    full_N = inputs.correctness[:, inputs.full]
    as_good_NA = (inputs.correctness >= full_N[:, None]).astype(np.float64)
    cheapest_N = choose_actions(as_good_NA, inputs.costs, lambda_cost=0.0)
    return np.where(full_N > 0, cheapest_N, inputs.full)


POLICIES = {
    "oracle": PolicyKind(
        "The cheapest correct action, `no` where none is; in a circular group also where another"
        " pass has none.",
        cheapest_correct,
        reads_correctness=True,
        reducible=False,
    ),
    "oracle_full_correct": PolicyKind(
        "The cheapest correct action where FULL is correct, elsewhere FULL.",
        cheapest_as_full,
        reads_correctness=True,
        reducible=False,
    ),
}

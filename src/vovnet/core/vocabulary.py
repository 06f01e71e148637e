"""Measures of the routing literature, from the same points: what others call what is measured here.

A model of a pool is here an action, shown always; the best single one is the most accurate.
Sources: LLMRouterBench (Li et al. 2026, arXiv 2601.07206, section 3.2, and the README of its
repository); RouterArena (Lu et al. 2025, arXiv 2510.00202, and `compute_arena_score` of its
repository); VL-RouterBench (Huang et al. 2025, arXiv 2512.23562, "Metrics" of its README).

The literature takes the best of a method's configurations on the questions that are reported, and
so does this; over many operating points that flatters. Shapes: A actions, P operating points.
Accuracies are in [0, 1].
"""

import numpy as np

from vovnet.core.arrays import EPSILON, Floats

BETA = 0.1
"""Weight of cost against accuracy in the rank score, as RouterArena and VL-RouterBench set it."""


def cost_save(
    costs_P: Floats, accuracies_P: Floats, costs_A: Floats, accuracies_A: Floats
) -> float:
    """CostSave: the largest share of the best single action's cost that is saved at its accuracy.

    NaN where no point is as accurate, or where the best single action costs nothing.
    """
    best = _best_single(costs_A, accuracies_A)
    as_good_P = accuracies_P >= accuracies_A[best] - EPSILON
    if not as_good_P.any() or costs_A[best] <= 0:
        return float("nan")
    return float(1 - costs_P[as_good_P].min() / costs_A[best])


def perf_gain(accuracies_P: Floats, accuracies_A: Floats) -> float:
    """PerfGain: how much more accurate the most accurate point is than the best single action.

    It is relative to that action's accuracy.
    """
    return _ratio(accuracies_P.max(), accuracies_A.max()) - 1


def gain_at_random(accuracies_P: Floats, accuracies_A: Floats) -> float:
    """Gain@R: the most accurate point relative to an action drawn at random, each as likely."""
    return _ratio(accuracies_P.max(), accuracies_A.mean()) - 1


def gap_at_oracle(accuracies_P: Floats, oracle: float) -> float:
    """Gap@O: how far the most accurate point stays below the oracle, relative to that."""
    return 1 - _ratio(accuracies_P.max(), oracle)


def rank_score(costs_P: Floats, accuracies_P: Floats, costs_A: Floats) -> float:
    """The best rank score of the points: accuracy and cheapness, averaged harmonically.

    S = (1 + beta) A C / (beta A + C), where C falls from 1 at the cheapest action's cost to 0 at
    the dearest's with the logarithm of cost, and stays there. NaN where an action costs nothing,
    which has no logarithm.
    """
    least, most = costs_A.min(), costs_A.max()
    if least <= 0 or most <= least:
        return float("nan")
    inside_P = np.clip(costs_P, least, most)
    cheap_P = (np.log(most) - np.log(inside_P)) / (np.log(most) - np.log(least))
    below_P = BETA * accuracies_P + cheap_P
    scores_P = (1 + BETA) * accuracies_P * cheap_P / np.where(below_P > 0, below_P, 1.0)
    return float(scores_P.max())


def _best_single(costs_A: Floats, accuracies_A: Floats) -> int:
    """The most accurate action, the cheapest of several."""
    return int(np.lexsort((costs_A, -accuracies_A))[0])


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else float("nan")

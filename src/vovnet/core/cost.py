"""The one definition of cost and of the decision rule. Training and evaluation import it.

The cost of a view is the number of vision tokens that enter the language model
(contract 6), times `cost_scale`. The number follows from the image size alone
(`vovnet.views.num_vision_tokens`), by the resize below, which the VLM adapters apply
themselves; they check it against the tokens they really feed.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ViewBudget:
    """How large an image a view may show: longest side and area, in pixels."""

    long_side: int | None
    max_pixels: int | None


def resized_size(width: int, height: int, budget: ViewBudget, factor: int) -> tuple[int, int]:
    """Size in pixels at which a view shows an image: never enlarged, multiples of `factor`.

    `factor` is the side of one vision token in pixels (patch size times spatial merge).
    The image is scaled down until it fits the budget, then each side is rounded to the
    nearest multiple of `factor`, at least one and within the budget's long side.
    """
    long_side = budget.long_side or sys.maxsize
    max_pixels = budget.max_pixels or sys.maxsize
    scale = min(1.0, long_side / max(width, height), math.sqrt(max_pixels / (width * height)))
    longest, most = max(1, long_side // factor), max(1, max_pixels // factor**2)
    sides = [min(max(1, round(side * scale / factor)), longest) for side in (width, height)]
    while sides[0] * sides[1] > most:
        sides[0 if sides[0] >= sides[1] else 1] -= 1
    return sides[0] * factor, sides[1] * factor


def expected_cost(vision_tokens: ArrayLike, cost_scale: float) -> NDArray[np.float64]:
    """cost_a = cost_scale * num_vision_tokens_a."""
    return cost_scale * np.asarray(vision_tokens, dtype=np.float64)


def unit_price(share_price: float, full_costs: ArrayLike) -> float:
    """`lambda_cost` in nats per unit of cost, where it is given per share of FULL's mean cost.

    `full_costs` is what FULL costs for each sample of a set. Where that is nothing, there is
    nothing to price.
    """
    mean = float(np.mean(np.asarray(full_costs, dtype=np.float64)))
    return share_price / mean if mean > 0 else share_price


def allowed_actions(actions: Sequence[str], action_space: str) -> list[int]:
    """Indices of the actions that the learned policy may choose: `binary` is NO and FULL."""
    names = ("no", "full") if action_space == "binary" else actions
    return [actions.index(name) for name in names]


def action_values(
    scores: ArrayLike, costs: ArrayLike, lambda_cost: ArrayLike
) -> NDArray[np.float64]:
    """score_a - lambda_cost * cost_a, (samples, actions).

    `lambda_cost` is one number, or one for each row. Under an infinite one cost alone counts.
    """
    scores_NA = np.asarray(scores, dtype=np.float64)
    costs_NA = np.asarray(costs, dtype=np.float64)
    lambda_N1 = np.broadcast_to(np.asarray(lambda_cost, dtype=np.float64), len(scores_NA))[:, None]
    with np.errstate(invalid="ignore"):  # infinity times a cost of 0
        return np.where(np.isinf(lambda_N1), -costs_NA, scores_NA - lambda_N1 * costs_NA)


def choose_actions(
    scores: ArrayLike, costs: ArrayLike, lambda_cost: ArrayLike
) -> NDArray[np.int64]:
    """The action of the highest `action_values` per row (samples, actions); ties: the cheaper."""
    values_NA = action_values(scores, costs, lambda_cost)
    costs_NA = np.asarray(costs, dtype=np.float64)
    best_N1 = values_NA.max(axis=1, keepdims=True)
    return np.where(values_NA == best_N1, costs_NA, np.inf).argmin(axis=1)


def switching_lambdas(scores: ArrayLike, costs: ArrayLike) -> NDArray[np.float64]:
    """The values of `lambda_cost` at which two actions are worth the same, (samples, pairs).

    Between two neighbouring ones, a row's choice by `choose_actions` is constant. NaN for two
    actions of the same cost, which change places nowhere.
    """
    scores_NA = np.asarray(scores, dtype=np.float64)
    costs_NA = np.asarray(costs, dtype=np.float64)
    first, second = np.triu_indices(scores_NA.shape[1], k=1)
    dearer_NK = costs_NA[:, second] - costs_NA[:, first]
    better_NK = scores_NA[:, second] - scores_NA[:, first]
    nowhere_NK = np.full_like(dearer_NK, np.nan)
    return np.divide(better_NK, dearer_NK, out=nowhere_NK, where=dearer_NK != 0)

"""The one definition of cost and of the decision rule. Training and evaluation import it.

The cost of a view is the number of vision tokens that enter the language model
(contract 6), times `cost_scale`. The number follows from the image size alone, by the
resize below, which the VLM adapters apply themselves; they check it against the tokens
they really feed. What a reduction leaves of an image's tokens follows from its grid alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ViewBudget:
    """How large an image a view may show: longest side and area, in pixels."""

    long_side: int | None
    max_pixels: int | None


@dataclass(frozen=True)
class Prune:
    """Keep a share of an image's tokens: evenly spaced ones, or those of the largest norm."""

    mode: Literal["stride", "topk_norm"]
    ratio: float


@dataclass(frozen=True)
class Merge:
    """Average similar tokens, weighted by their norm or alike, until a share is left."""

    mode: Literal["cosine", "l2"]
    weight: Literal["norm", "uniform"]
    ratio: float


@dataclass(frozen=True)
class Pool:
    """Average the tokens of each square of `factor` x `factor` on the grid."""

    factor: int


Reduction = Prune | Merge | Pool


def resized_size(width: int, height: int, budget: ViewBudget, factor: int) -> tuple[int, int]:
    """Size in pixels at which a view shows an image: never enlarged, multiples of `factor`.

    `factor` is the side of one vision token in pixels (patch size times spatial merge).
    The image is scaled down until it fits the budget, then each side is rounded to the
    nearest multiple of `factor`, at least one and within the budget's long side.
    """
    scale = 1.0
    if budget.long_side is not None:
        scale = min(scale, budget.long_side / max(width, height))
    if budget.max_pixels is not None:
        scale = min(scale, math.sqrt(budget.max_pixels / (width * height)))
    sides = [max(1, round(side * scale / factor)) for side in (width, height)]
    if budget.long_side is not None:
        longest = max(1, budget.long_side // factor)
        sides = [min(side, longest) for side in sides]
    if budget.max_pixels is not None:
        most = max(1, budget.max_pixels // factor**2)
        while sides[0] * sides[1] > most:
            larger = 0 if sides[0] >= sides[1] else 1
            sides[larger] -= 1
    return sides[0] * factor, sides[1] * factor


def reduced_tokens(rows: int, columns: int, reductions: Sequence[Reduction] = ()) -> int:
    """Tokens that `reductions`, one after the other, leave of a grid of rows x columns."""
    count = rows * columns
    for reduction in reductions:
        if isinstance(reduction, Pool):
            rows, columns = (math.ceil(side / reduction.factor) for side in (rows, columns))
            count = rows * columns
        else:
            count = kept_tokens(count, reduction.ratio)
    return count


def kept_tokens(count: int, ratio: float) -> int:
    """The nearest whole number to `ratio` of `count` tokens, halves up, at least one."""
    return max(1, math.floor(count * ratio + 0.5))


def num_vision_tokens(
    sizes: Sequence[tuple[int, int]],
    budget: ViewBudget | None,
    factor: int,
    reductions: Sequence[Reduction] = (),
) -> int:
    """Vision tokens that a view of images of `sizes` (width, height) costs; None means no look.

    Each image is reduced by itself.
    """
    if budget is None:
        return 0
    total = 0
    for width, height in sizes:
        shown_width, shown_height = resized_size(width, height, budget, factor)
        total += reduced_tokens(shown_height // factor, shown_width // factor, reductions)
    return total


def expected_cost(vision_tokens: ArrayLike, cost_scale: float) -> NDArray[np.float64]:
    """cost_a = cost_scale * num_vision_tokens_a."""
    return cost_scale * np.asarray(vision_tokens, dtype=np.float64)


def choose_actions(scores: ArrayLike, costs: ArrayLike, lambda_cost: float) -> NDArray[np.int64]:
    """argmax_a (score_a - lambda_cost * cost_a) per row (samples, actions); ties: the cheaper.

    Actions are ordered from cheap to dear, so that the first maximum is the cheapest.
    An infinite `lambda_cost` never looks.
    """
    scores_NA = np.asarray(scores, dtype=np.float64)
    costs_NA = np.asarray(costs, dtype=np.float64)
    if math.isinf(lambda_cost):
        return np.argmin(costs_NA, axis=1)
    values_NA = scores_NA - lambda_cost * costs_NA
    best_N1 = values_NA.max(axis=1, keepdims=True)
    return np.where(values_NA == best_N1, costs_NA, np.inf).argmin(axis=1)

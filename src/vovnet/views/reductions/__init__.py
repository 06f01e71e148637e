"""Fewer tokens from an encoded image: pruning, merging and pooling as pure tensor functions.

A reduction is found from the tokens that enter the language model, and is a linear map: each
token that is left is a weighted mean of those that were there. The same map then applies to
the deepstack features. A token that is left takes the position of its *anchor*, one of the
tokens that went into it; tokens stay in the order of their anchors on the grid.

Shapes: K tokens of an image, row by row on its grid; G tokens left; D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vovnet.core.cost import Merge, Pool, Prune, Reduction
from vovnet.views.reductions.base import Reduced, identity
from vovnet.views.reductions.merge import merge
from vovnet.views.reductions.pool import pool
from vovnet.views.reductions.prune import prune

__all__ = ["Reduced", "merge", "pool", "prune", "reduce_tokens"]


def reduce_tokens(
    tokens_KD: Tensor, grid: tuple[int, int], reductions: Sequence[Reduction]
) -> Reduced:
    """What `reductions`, one after the other, leave of an image's tokens.

    A `Pool` needs the whole grid, so it comes first.
    """
    assert len(tokens_KD) == grid[0] * grid[1], (tokens_KD.shape, grid)
    result = identity(tokens_KD)
    for reduction in reductions:
        left_GD = result.apply(tokens_KD)
        match reduction:
            case Prune(mode, ratio):
                result = result.then(prune(left_GD, mode, ratio))
            case Merge(mode, weight, ratio):
                result = result.then(merge(left_GD, mode, weight, ratio))
            case Pool(factor):
                assert len(left_GD) == len(tokens_KD), "pooling needs the whole grid"
                result = result.then(pool(left_GD, grid, factor))
    return result

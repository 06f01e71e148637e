"""Pooling: means over squares of the 2-D token grid, as in M3 (Cai et al. 2024).

Shapes: K tokens on a grid of rows x columns, G left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vovnet.views.reductions.base import Reduced, grouping


def pool(tokens_KD: Tensor, grid: tuple[int, int], factor: int) -> Reduced:
    """Average each `factor` x `factor` square; squares at the edge of odd grids are smaller.

    The anchor of a square is its middle token, the upper left of four middle ones.
    """
    rows, columns = grid
    row_K, column_K = (
        axis.reshape(-1)
        for axis in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    )
    across = -(-columns // factor)
    groups_K = row_K // factor * across + column_K // factor
    middle_rows, middle_columns = (_middles(side, factor) for side in grid)
    anchors_G = (middle_rows[:, None] * columns + middle_columns).reshape(-1)
    return grouping(groups_K, anchors_G, torch.ones(len(tokens_KD), device=tokens_KD.device))


def _middles(side: int, factor: int) -> Tensor:
    """The middle place, rounded down, of each stretch of `factor` along a side."""
    first = torch.arange(0, side, factor)
    last = (first + factor).clamp_max(side) - 1
    return (first + last) // 2

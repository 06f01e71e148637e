"""Pooling: means over squares of the 2-D token grid, as in M3 (Cai et al. 2024).

Shapes: K tokens on a grid of rows x columns, G left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vovnet.views.reductions.base import ImageTokens, Reduction

if TYPE_CHECKING:
    from vovnet.views.reductions.token_map import TokenMap


@dataclass(frozen=True)
class Pool(Reduction):
    """Averages each square of `factor` x `factor` tokens, spelled `pool-<factor>`.

    Squares at the edge of odd grids are smaller. The anchor of a square is its middle token, the
    upper left of four middle ones.
    """

    factor: int

    example: ClassVar[str] = "pool-2"
    summary: ClassVar[str] = "averages the tokens of each square of the grid with this side"
    needs_grid: ClassVar[bool] = True
    column: ClassVar[str] = "pool_factor"

    def tokens_left(self, count: int, grid: tuple[int, int]) -> int:
        rows, columns = (-(-side // self.factor) for side in grid)
        return rows * columns

    def reduce(self, image: ImageTokens) -> TokenMap:
        import torch

        from vovnet.views.reductions.token_map import grouping

        (rows, columns), factor = image.grid, self.factor
        row_K = torch.arange(rows).repeat_interleave(columns)
        column_K = torch.arange(columns).repeat(rows)
        across = -(-columns // factor)
        groups_K = row_K // factor * across + column_K // factor
        # The middle place, rounded down, of each stretch of `factor` along a side.
        middle_rows, middle_columns = (
            [(first + min(first + factor, side) - 1) // 2 for first in range(0, side, factor)]
            for side in image.grid
        )
        anchors = [row * columns + column for row in middle_rows for column in middle_columns]
        masses_K = torch.ones(len(image), device=image.values_KD.device)
        return grouping(groups_K, torch.tensor(anchors), masses_K)

"""Pruning: some tokens are kept as they are, the others are dropped. Shapes: K tokens, G left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from vovnet.views.reductions.base import Reduction, kept_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from vovnet.views.reductions.token_map import TokenMap


@dataclass(frozen=True)
class Prune(Reduction):
    """Keeps a share of an image's tokens, spelled `prune-<mode>-<ratio>`.

    `stride` takes every (K / G)-th in reading order from the first on; `topk_norm` those of
    the largest L2 norm, the earlier one of equal norms.
    """

    mode: Literal["stride", "topk_norm"]
    ratio: float

    example: ClassVar[str] = "prune-stride-0.5"
    summary: ClassVar[str] = (
        "keeps a share of the tokens: evenly spaced ones (`stride`), or those of the largest norm"
        " (`topk_norm`)"
    )
    column: ClassVar[str] = "pruning_ratio"

    def tokens_left(self, count: int, grid: tuple[int, int]) -> int:
        return kept_tokens(count, self.ratio)

    def reduce(self, tokens_KD: Tensor, grid: tuple[int, int]) -> TokenMap:
        import torch

        from vovnet.views.reductions.token_map import selection

        count = len(tokens_KD)
        left = self.tokens_left(count, grid)
        if self.mode == "stride":
            return selection(torch.arange(left) * count // left, tokens_KD)
        norms_K = tokens_KD.float().norm(dim=-1).cpu()
        order_K = norms_K.argsort(descending=True, stable=True)
        return selection(order_K[:left].sort().values, tokens_KD)

"""Pruning: some tokens are kept as they are, the others are dropped.

Sources: UniPruneBench (Peng et al. 2025, arXiv 2511.02650) for random pruning as a baseline;
DivPrune (Alvar et al., CVPR 2025, arXiv 2503.02175), which treats pruning as the max-min
diversity problem and solves it greedily. Deviation from DivPrune's code: a token that is kept
already is never named again, so that of equal tokens as many are kept as were asked for.

Shapes: K tokens of an image, G left, D hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from vovnet.views.reductions.base import ImageTokens, Reduction, kept_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from vovnet.views.reductions.token_map import TokenMap


@dataclass(frozen=True)
class Prune(Reduction):
    """Keeps a share of an image's tokens, spelled `prune-<mode>-<ratio>`.

    - `stride` takes every (K / G)-th in reading order from the first on.
    - `topk_norm` takes those of the largest L2 norm, the earlier one of equal norms.
    - `random` takes the first G of an order that is drawn by the image as it is shown, and by
      nothing else. So a smaller share is a part of a larger one.
    - `divprune` begins with the token whose nearest other one is the farthest, by cosine, and
      goes on with the one whose nearest kept one is the farthest; the earlier one of equals.
    """

    mode: Literal["stride", "topk_norm", "random", "divprune"]
    ratio: float

    example: ClassVar[str] = "prune-stride-0.5"
    summary: ClassVar[str] = (
        "keeps a share of the tokens: evenly spaced ones (`stride`), those of the largest norm"
        " (`topk_norm`), ones drawn by chance (`random`), or the most diverse ones (`divprune`)"
    )
    column: ClassVar[str] = "pruning_ratio"

    def tokens_left(self, count: int, grid: tuple[int, int]) -> int:
        return kept_tokens(count, self.ratio)

    def reduce(self, image: ImageTokens) -> TokenMap:
        import torch

        from vovnet.views.reductions.token_map import selection

        count = len(image)
        left = self.tokens_left(count, image.grid)
        if self.mode == "stride":
            return selection(torch.arange(left) * count // left, image.values_KD)
        if self.mode == "topk_norm":
            norms_K = image.values_KD.float().norm(dim=-1).cpu()
            kept_G = norms_K.argsort(descending=True, stable=True)[:left]
        elif self.mode == "random":
            order_K = np.random.default_rng(image.seed).permutation(count)
            kept_G = torch.from_numpy(order_K)[:left]
        else:
            kept_G = torch.tensor(_diverse(image.values_KD, left))
        return selection(kept_G.sort().values, image.values_KD)


def _diverse(tokens_KD: Tensor, left: int) -> list[int]:
    """The `left` tokens that are chosen one after the other, each far from those before it."""
    import torch

    normed_KD = torch.nn.functional.normalize(tokens_KD.float(), dim=-1)
    cosine_KK = normed_KD @ normed_KD.T
    # Two tokens are each other's nearest by the same number, whatever a product rounds.
    distance_KK = (1 - (cosine_KK + cosine_KK.T) / 2).cpu().numpy()
    np.fill_diagonal(distance_KK, np.inf)
    chosen = [int(distance_KK.min(axis=0).argmax())]
    nearest_K = distance_KK[chosen[0]].copy()
    while len(chosen) < left:
        nearest_K[chosen[-1]] = -np.inf
        chosen.append(int(nearest_K.argmax()))
        nearest_K = np.minimum(nearest_K, distance_KK[chosen[-1]])
    return chosen

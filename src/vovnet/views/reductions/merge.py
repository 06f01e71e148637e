"""Merging: similar tokens are averaged, by bipartite soft matching in several rounds.

Sources: ToMe (Bolya et al. 2023, section 3) for the matching, AIM (Zhong et al. 2024) for its
use on the tokens that enter the language model. Unlike ToMe's, the tokens themselves are
compared (there are no attention keys here), and rounds go on until the asked share is left.

Shapes: K tokens, N of them left at the start of a round, A and B the two halves of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from vovnet.views.reductions.base import ImageTokens, Reduction, kept_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from vovnet.views.reductions.token_map import TokenMap


@dataclass(frozen=True)
class Merge(Reduction):
    """Averages similar tokens until a share is left, spelled `merge-<mode>[-<weight>]-<ratio>`.

    At most half of the tokens go in a round: those at even places look for the most similar one
    at the odd places (by cosine, or the smallest L2 distance); the most similar pairs merge, and
    the one at the odd place is the anchor. A token's mass is 1, or its L2 norm with `weight`
    norm, the default; a merged token is the mean of what went into it weighted by mass, and its
    mass is the sum.
    """

    mode: Literal["cosine", "l2"]
    ratio: float
    weight: Literal["norm", "uniform"] = "norm"

    example: ClassVar[str] = "merge-cosine-0.5"
    summary: ClassVar[str] = (
        "averages similar tokens (by `cosine` or `l2`), weighted by their norm or `uniform`, until"
        " a share is left"
    )
    column: ClassVar[str] = "merge_ratio"

    def tokens_left(self, count: int, grid: tuple[int, int]) -> int:
        return kept_tokens(count, self.ratio)

    def reduce(self, image: ImageTokens) -> TokenMap:
        import torch

        from vovnet.views.reductions.token_map import grouping

        tokens_KD = image.values_KD.float()
        if self.weight == "uniform":
            masses_K = torch.ones(len(tokens_KD), device=tokens_KD.device)
        else:  # tokens of zero norm still have a mean
            masses_K = tokens_KD.norm(dim=-1).clamp_min(torch.finfo(torch.float32).eps)
        groups_K = anchors_N = torch.arange(len(tokens_KD))
        left = self.tokens_left(len(image), image.grid)
        result = grouping(groups_K, anchors_N, masses_K)
        while len(anchors_N) > left:
            count = min(len(anchors_N) - left, len(anchors_N) // 2)
            target_N = _match(result.apply(tokens_KD), self.mode, count)
            kept_N = target_N == torch.arange(len(target_N))
            # Places are counted anew among those that are left.
            place_N = kept_N.cumsum(0) - 1
            groups_K, anchors_N = place_N[target_N][groups_K], anchors_N[kept_N]
            result = grouping(groups_K, anchors_N, masses_K)
        return result


def _match(tokens_ND: Tensor, mode: str, count: int) -> Tensor:
    """The token that each one goes into (itself for those that stay), (N,) on the CPU."""
    import torch

    sources_AD, targets_BD = tokens_ND[0::2], tokens_ND[1::2]
    if mode == "cosine":
        normed = (torch.nn.functional.normalize(part, dim=-1) for part in (sources_AD, targets_BD))
        sources_AD, targets_BD = normed
        similarity_AB = sources_AD @ targets_BD.T
    else:
        exact = "donot_use_mm_for_euclid_dist"
        similarity_AB = -torch.cdist(sources_AD, targets_BD, compute_mode=exact)
    best_A, target_A = similarity_AB.cpu().max(dim=1)
    merging = best_A.argsort(descending=True, stable=True)[:count]
    target_N = torch.arange(len(tokens_ND))
    target_N[2 * merging] = 2 * target_A[merging] + 1
    return target_N

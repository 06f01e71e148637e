"""VisionZip: the tokens that the vision tower attends to, and means of the others.

Source: VisionZip (Yang et al., CVPR 2025, arXiv 2412.04467), "Informative Visual Token Zip". The
tower of Qwen's models has no CLS token. There its authors rank tokens by the attention that their
patches get from all patches in the tower's last layer, and compare tokens by the keys of that
layer; so does this module.

Deviations:
- A contextual token is the mean of its target and of the mean of what is merged into it, where
  the authors' code adds the two: it points the same way, and is half as long.
- All tokens are counted from the share that is asked for. Of 64 tokens, 10 are contextual, which is
  the authors' ratio for LLaVA (54 and 10, 108 and 20, 162 and 30).
- Deepstack features, which the authors' models do not have, go through the same map.

Shapes: K tokens of an image, G left, R that are not dominant, C contextual, E size of a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vovnet.views.reductions.base import ImageTokens, Reduction, kept_tokens

if TYPE_CHECKING:
    from vovnet.views.reductions.token_map import TokenMap

CONTEXTUAL = 10 / 64
"""Share of the tokens left that is contextual, at least one."""


@dataclass(frozen=True)
class Visionzip(Reduction):
    """Keeps the tokens that get most attention in the tower, spelled `visionzip-<ratio>`.

    Of the others evenly spaced ones are targets, and each that is left goes into the target whose
    keys are most alike by cosine, the earlier one of equals.
    """

    ratio: float

    example: ClassVar[str] = "visionzip-0.5"
    summary: ClassVar[str] = (
        "keeps the tokens that get most attention in the vision tower, and averages the others"
        " by their keys, until a share is left"
    )
    column: ClassVar[str] = "pruning_ratio"
    needs_grid: ClassVar[bool] = True
    needs_attention: ClassVar[bool] = True

    def tokens_left(self, count: int, grid: tuple[int, int]) -> int:
        return kept_tokens(count, self.ratio)

    def reduce(self, image: ImageTokens) -> TokenMap:
        import torch

        from vovnet.views.reductions.token_map import TokenMap

        attention, count = image.attention, len(image)
        assert attention is not None, "the image was encoded without the tower's attention"
        left = self.tokens_left(count, image.grid)
        contextual = kept_tokens(left, CONTEXTUAL)
        device = attention.keys_KE.device
        order_K = attention.received_K.float().argsort(descending=True, stable=True)
        dominant_D = order_K[: left - contextual]
        other_R = order_K[left - contextual :].sort().values
        is_target_R = torch.zeros(len(other_R), dtype=torch.bool)
        is_target_R[:: len(other_R) // contextual][:contextual] = True
        target_C, merged_M = (
            other_R[chosen_R.nonzero().flatten().to(device)]
            for chosen_R in (is_target_R, ~is_target_R)
        )
        keys_KE = torch.nn.functional.normalize(attention.keys_KE.float(), dim=-1)
        alike_MC = keys_KE[merged_M] @ keys_KE[target_C].T
        joins_MC = torch.nn.functional.one_hot(alike_MC.argmax(dim=1), contextual).float()
        counts_C = joins_MC.sum(dim=0)
        weights_CK = torch.zeros(contextual, count, device=device)
        weights_CK[:, merged_M] = joins_MC.T / (2 * counts_C.clamp_min(1))[:, None]
        shares_C = torch.where(counts_C > 0, 0.5, 1.0)
        weights_CK[torch.arange(contextual, device=device), target_C] = shares_C
        weights_GK = torch.cat([torch.eye(count, device=device)[dominant_D], weights_CK])
        anchors_G, order_G = torch.cat([dominant_D, target_C]).sort()
        return TokenMap(weights_GK[order_G], anchors_G.cpu())

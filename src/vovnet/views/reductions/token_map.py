"""A reduction as a linear map over an image's tokens.

Each token that is left is a weighted mean of those that were there. The map is found from the
tokens that enter the language model, and then also applies to the deepstack features. A token
that is left takes the position of its *anchor*, one of the tokens that went into it; tokens stay
in the order of their anchors on the grid.

Shapes: K tokens of an image, row by row on its grid; G tokens left; D hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vovnet.views.reductions.base import ImageTokens, Reduction


@dataclass(frozen=True)
class TokenMap:
    """A row of `weights_GK` makes each token that is left; rows sum to 1.

    `anchors_G` (on the CPU) says whose position it takes.
    """

    weights_GK: Tensor
    anchors_G: Tensor

    def apply(self, features_KD: Tensor) -> Tensor:
        """The features left, (G, D), in their own type; exact where a token is left as it was."""
        with torch.autocast(features_KD.device.type, enabled=False):
            return (self.weights_GK @ features_KD.float()).to(features_KD.dtype)

    def then(self, other: "TokenMap") -> "TokenMap":
        """This map, then another of what it left."""
        return TokenMap(other.weights_GK @ self.weights_GK, self.anchors_G[other.anchors_G])


def reduce_tokens(image: ImageTokens, reductions: Sequence[Reduction]) -> TokenMap:
    """What `reductions`, one after the other, leave of an image's tokens.

    Maps are in float32, also in training in mixed precision: a mean of rounded weights would not
    leave a single token as it was.
    """
    tokens_KD = image.values_KD
    assert len(tokens_KD) == image.grid[0] * image.grid[1], (tokens_KD.shape, image.grid)
    with torch.autocast(tokens_KD.device.type, enabled=False):
        result = selection(torch.arange(len(tokens_KD)), tokens_KD)
        for reduction in reductions:
            left_GD = result.apply(tokens_KD)
            whole = len(left_GD) == len(tokens_KD)
            assert whole or not reduction.needs_grid, f"{reduction.name} needs the whole grid"
            left = replace(image, values_KD=left_GD, attention=image.attention if whole else None)
            result = result.then(reduction.reduce(left))
    return result


def selection(kept_G: Tensor, features_KD: Tensor) -> TokenMap:
    """The tokens of the ascending indices `kept_G`."""
    weights_KK = torch.eye(len(features_KD), device=features_KD.device)
    return TokenMap(weights_KK[kept_G], kept_G.cpu())


def grouping(groups_K: Tensor, anchors_G: Tensor, masses_K: Tensor) -> TokenMap:
    """Means, weighted by `masses_K`, of the tokens that `groups_K` puts together.

    All on the CPU but the masses. Weights are shares of a group's mass, so that a token that
    is alone in its group keeps exactly its value.
    """
    member_GK = torch.nn.functional.one_hot(groups_K, len(anchors_G)).T
    masses_GK = member_GK.to(masses_K.device) * masses_K
    return TokenMap(masses_GK / masses_GK.sum(dim=1, keepdim=True), anchors_G)

"""A reduction as a linear map over an image's tokens. Shapes: K tokens, G left, D hidden size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reduced:
    """A row of `weights_GK` makes each token that is left; rows sum to 1.

    `anchors_G` (on the CPU) says whose position it takes, and `sizes_G` how many tokens went
    into it.
    """

    weights_GK: Tensor
    anchors_G: Tensor
    sizes_G: Tensor

    @property
    def num_tokens(self) -> int:
        return len(self.anchors_G)

    def apply(self, features_KD: Tensor) -> Tensor:
        """The features left, (G, D), in their own type; exact where a token is left as it was."""
        return (self.weights_GK @ features_KD.float()).to(features_KD.dtype)

    def then(self, other: Reduced) -> Reduced:
        """This reduction, then another of what it left."""
        index_G = other.anchors_G
        return Reduced(
            other.weights_GK @ self.weights_GK,
            self.anchors_G[index_G],
            (other.weights_GK != 0).float().cpu() @ self.sizes_G,
        )


def identity(features_KD: Tensor) -> Reduced:
    """Every token as it is."""
    count = len(features_KD)
    return selection(torch.arange(count), features_KD)


def selection(kept_G: Tensor, features_KD: Tensor) -> Reduced:
    """The tokens of the ascending indices `kept_G`."""
    weights_KK = torch.eye(len(features_KD), device=features_KD.device)
    return Reduced(weights_KK[kept_G], kept_G.cpu(), torch.ones(len(kept_G)))


def grouping(groups_K: Tensor, anchors_G: Tensor, masses_K: Tensor) -> Reduced:
    """Means, weighted by `masses_K`, of the tokens that `groups_K` puts together.

    All on the CPU but the masses. Weights are shares of a group's mass, so that a token that
    is alone in its group keeps exactly its value.
    """
    member_GK = torch.nn.functional.one_hot(groups_K, len(anchors_G)).T
    masses_GK = member_GK.to(masses_K.device) * masses_K
    weights_GK = masses_GK / masses_GK.sum(dim=1, keepdim=True)
    return Reduced(weights_GK, anchors_G, member_GK.sum(dim=1).float())

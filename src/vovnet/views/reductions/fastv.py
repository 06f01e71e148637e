"""FastV: behind a layer of the language model, tokens that get little attention are dropped.

Source: FastV (Chen et al., ECCV 2024, arXiv 2403.06764), section 4. Where its text ranks tokens by
the attention that they get from all tokens, its code takes that of the prompt's last token, a mean
over heads; so does `vovnet.model.fastv`. All images of a question are ranked together.

Deviation: the later layers' caches hold the tokens that go on alone, each with its own keys and
values and at its own position, where the authors' code that drops tokens has no cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from vovnet.views.reductions.base import Dropping, ImageTokens

if TYPE_CHECKING:
    from vovnet.views.reductions.token_map import TokenMap


@dataclass(frozen=True)
class Fastv(Dropping):
    """Keeps a share of the tokens behind a layer, spelled `fastv[-layer<n>]-<ratio>`."""

    layer: Literal["layer1", "layer2", "layer3", "layer4", "layer5"] = "layer2"

    example: ClassVar[str] = "fastv-0.5"
    summary: ClassVar[str] = (
        "keeps the share that gets most attention from the prompt's end, behind the second layer of"
        " the language model (`layer1` to `layer5`: behind another one)"
    )
    column: ClassVar[str] = "fastv_ratio"

    @property
    def num_layers(self) -> int:
        return int(self.layer.removeprefix("layer"))

    def reduce(self, image: ImageTokens) -> TokenMap:
        import torch

        from vovnet.views.reductions.token_map import selection

        return selection(torch.arange(len(image)), image.values_KD)

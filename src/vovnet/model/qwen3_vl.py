"""Qwen3-VL: features of the tower's earlier layers ("deepstack") enter the first text layers."""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration
from transformers.vision_utils import get_vision_interpolation_indices_and_weights

from vovnet.config import ModelSettings, VisionBudget
from vovnet.model.flops import ModelFlops
from vovnet.model.qwen_vl import QwenVL


class Qwen3VL(QwenVL):
    architecture = Qwen3VLForConditionalGeneration

    def __init__(self, settings: ModelSettings, budget: VisionBudget) -> None:
        super().__init__(settings, budget)
        self.flops = ModelFlops.of_qwen3_vl(self.model.config.to_dict())

    def deepstack_features(self, output: Any) -> Sequence[Tensor | Sequence[Tensor]]:
        return output.deepstack_features

    def image_layout(self, grid_13: Tensor) -> dict[str, Tensor]:
        tower = cast(Any, self.tower)
        indices, weights = get_vision_interpolation_indices_and_weights(
            grid_13,
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=tower.spatial_merge_size,
        )
        found = {"interp_indices": indices, "interp_weights": weights}
        return super().image_layout(grid_13) | found

    def normed_queries(self, attention: Any, query_BTHE: Tensor) -> Tensor:
        return attention.q_norm(query_BTHE)


MODEL = Qwen3VL

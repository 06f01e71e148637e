"""Qwen3-VL: features of the tower's earlier layers ("deepstack") enter the first text layers."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from vovnet.config import ModelSettings, VisionBudget
from vovnet.model.flops import ModelFlops
from vovnet.model.qwen_vl import QwenVL
from vovnet.model.sequences import Batch


class Qwen3VL(QwenVL):
    architecture = Qwen3VLForConditionalGeneration

    def __init__(self, settings: ModelSettings, budget: VisionBudget) -> None:
        super().__init__(settings, budget)
        self.flops = ModelFlops.of_qwen3_vl(self.model.config.to_dict())

    def deepstack_features(self, output: Any) -> Sequence[Tensor | Sequence[Tensor]]:
        return output.deepstack_features

    def deepstack_inputs(self, batch: Batch) -> dict[str, Any]:
        return {
            "visual_pos_masks": batch.image_mask_BT if batch.images else None,
            "deepstack_visual_embeds": self.deepstack_levels(batch.images) or None,
        }

    def normed_queries(self, attention: Any, query_BTHE: Tensor) -> Tensor:
        return attention.q_norm(query_BTHE)


MODEL = Qwen3VL

"""Qwen2.5-VL: most layers of its tower attend within windows."""

from typing import Any

from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.vision_utils import get_vision_window_index

from vovnet.config import ModelSettings, VisionBudget
from vovnet.model.flops import ModelFlops
from vovnet.model.qwen_vl import QwenVL
from vovnet.model.sequences import sent


class Qwen25VL(QwenVL):
    architecture = Qwen2_5_VLForConditionalGeneration

    def __init__(self, settings: ModelSettings, budget: VisionBudget) -> None:
        super().__init__(settings, budget)
        self.flops = ModelFlops.of_qwen2_5_vl(self.model.config.to_dict())

    def tower_layout(self, grids_N3: Tensor) -> dict[str, Any]:
        places_K, starts = self._windows(grids_N3)
        return super().tower_layout(grids_N3) | {
            "window_index": sent(places_K, self.device),
            "cu_window_seqlens": sent(starts, self.device),
            "max_window_seqlen": int(starts.diff().max()),
        }

    def tower_places(self, grids_N3: Tensor) -> Tensor:
        return self._windows(grids_N3)[0].argsort()

    def _windows(self, grids_N3: Tensor) -> tuple[Tensor, Tensor]:
        """The order in which the layers have the tokens of all images, and where windows start."""
        vision = self.model.config.vision_config
        sizes = (vision.spatial_merge_size, vision.window_size, vision.patch_size)
        return get_vision_window_index(grids_N3, *sizes)


MODEL = Qwen25VL

"""Qwen2.5-VL: most layers of its tower attend within windows."""

from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.vision_utils import get_vision_window_index

from vovnet.config import ModelSettings, VisionBudget
from vovnet.model.flops import ModelFlops
from vovnet.model.qwen_vl import QwenVL


class Qwen25VL(QwenVL):
    architecture = Qwen2_5_VLForConditionalGeneration

    def __init__(self, settings: ModelSettings, budget: VisionBudget) -> None:
        super().__init__(settings, budget)
        self.flops = ModelFlops.of_qwen2_5_vl(self.model.config.to_dict())

    def tower_places(self, grids_N3: Tensor) -> Tensor:
        vision = self.model.config.vision_config
        sizes = (vision.spatial_merge_size, vision.window_size, vision.patch_size)
        return get_vision_window_index(grids_N3, *sizes)[0].argsort()


MODEL = Qwen25VL

"""Qwen2.5-VL: most layers of its tower attend within windows."""

from transformers import Qwen2_5_VLForConditionalGeneration

from vovnet.config import ModelSettings, VisionBudget
from vovnet.model.flops import ModelFlops
from vovnet.model.qwen_vl import QwenVL


class Qwen25VL(QwenVL):
    architecture = Qwen2_5_VLForConditionalGeneration

    def __init__(self, settings: ModelSettings, budget: VisionBudget) -> None:
        super().__init__(settings, budget)
        self.flops = ModelFlops.of_qwen2_5_vl(self.model.config.to_dict())


MODEL = Qwen25VL

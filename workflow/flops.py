"""What an answer of each model costs at the sizes of config/paper.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vovnet.config import VisionBudget, load
from vovnet.core.cost import resized_size
from vovnet.model.flops import ModelFlops
from vovnet.views import num_vision_tokens, view_budget

CONFIG = Path(__file__).resolve().parents[1] / "config"
PHOTO = (1024, 768)
QUESTION_TOKENS, HEADER_TOKENS, ANSWER_TOKENS = 42, 3, 4
"""Tokens before the image, of the assistant's header after it, and of the answer."""

VIEWS = ("no", "coarse", "full", "full+merge-cosine-0.5")


def _qwen3_vl(
    hidden: int, layers: int, heads: int, mlp: int, tower: tuple[int, int, int]
) -> ModelFlops:
    """The numbers in which the models' config.json files differ; the tower's are its own."""
    depth, width, tower_mlp = tower
    text = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": mlp,
        "vocab_size": 151936,
    }
    vision = {
        "depth": depth,
        "hidden_size": width,
        "intermediate_size": tower_mlp,
        "out_hidden_size": hidden,
        "in_channels": 3,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "deepstack_visual_indexes": [0, 1, 2],  # only their number counts
    }
    config: dict[str, Any] = {"text_config": text, "vision_config": vision}
    return ModelFlops.of_qwen3_vl(config)


def _qwen2_5_vl(
    hidden: int, layers: int, heads: tuple[int, int], mlp: int, words: int
) -> ModelFlops:
    """The numbers in which the models' config.json files differ; their towers are alike."""
    text = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "intermediate_size": mlp,
        "vocab_size": words,
    }
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "out_hidden_size": hidden,
        "in_channels": 3,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    config: dict[str, Any] = {"text_config": text, "vision_config": vision}
    return ModelFlops.of_qwen2_5_vl(config)


QWEN3_VL = ("paper.yaml",)
QWEN2_5_VL = ("paper.yaml", "qwen2_5_vl.yaml")
MODELS = {
    "Qwen3-VL 2B": (QWEN3_VL, _qwen3_vl(2048, 28, 16, 6144, (24, 1024, 4096))),
    "Qwen3-VL 4B": (QWEN3_VL, _qwen3_vl(2560, 36, 32, 9728, (24, 1024, 4096))),
    "Qwen3-VL 8B": (QWEN3_VL, _qwen3_vl(4096, 36, 32, 12288, (27, 1152, 4304))),
    "Qwen2.5-VL 3B": (QWEN2_5_VL, _qwen2_5_vl(2048, 36, (16, 2), 11008, 151936)),
    "Qwen2.5-VL 7B": (QWEN2_5_VL, _qwen2_5_vl(3584, 28, (28, 4), 18944, 152064)),
}
"""The files under config/ that hold a model's sizes of images, and what the model computes."""


def flop_rows() -> list[list[str]]:
    """A row for each model and view, in 10^12 operations."""
    rows = []
    for name, (files, model) in MODELS.items():
        sizes = load(CONFIG / file for file in files).vision_budget
        rows += [[name, f"`{view}`", *_columns(model, view, sizes)] for view in VIEWS]
    return rows


def _columns(model: ModelFlops, view: str, sizes: VisionBudget) -> list[str]:
    budget = view_budget(view, sizes)
    tokens = num_vision_tokens([PHOTO], view, sizes)
    text_tokens = QUESTION_TOKENS + HEADER_TOKENS
    grids, length, cached = [], text_tokens, text_tokens
    if budget is not None:
        width, height = resized_size(*PHOTO, budget, sizes.factor)
        grids = [(height // sizes.factor, width // sizes.factor)]
        length, cached = text_tokens + tokens + 2, QUESTION_TOKENS  # an image has two marks
    answer = model.answer(grids, length, ANSWER_TOKENS, cached)
    read = model.language_model.prefill(text_tokens)
    counts = (read, answer.vision_tower, answer.language_model, answer.language_model_alone)
    return [str(tokens), *(f"{count / 1e12:.3f}" for count in counts)]

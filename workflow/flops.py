"""What an answer of each Qwen3-VL costs at the sizes of config/paper.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vovnet.config import load
from vovnet.core.cost import resized_size
from vovnet.model.flops import ModelFlops
from vovnet.views import num_vision_tokens, view_budget

PAPER = Path(__file__).resolve().parents[1] / "config" / "paper.yaml"
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


MODELS = {
    "Qwen3-VL 2B": _qwen3_vl(2048, 28, 16, 6144, (24, 1024, 4096)),
    "Qwen3-VL 4B": _qwen3_vl(2560, 36, 32, 9728, (24, 1024, 4096)),
    "Qwen3-VL 8B": _qwen3_vl(4096, 36, 32, 12288, (27, 1152, 4304)),
}


def flop_rows() -> list[list[str]]:
    """A row for each model and view, in 10^12 operations."""
    return [
        [name, f"`{view}`", *_columns(model, view)]
        for name, model in MODELS.items()
        for view in VIEWS
    ]


def _columns(model: ModelFlops, view: str) -> list[str]:
    sizes = load([PAPER]).vision_budget
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

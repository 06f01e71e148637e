"""The operations of a model that is not loaded: from its config.json, or its public sizes.

Loads no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vovnet.config import ModelSettings, VisionBudget
from vovnet.core.cost import resized_size
from vovnet.core.errors import CheckpointError, ConfigError
from vovnet.core.files import read_object
from vovnet.model.flops import AnswerFlops, Dropped, Grid, ModelFlops
from vovnet.views import num_vision_tokens, parse_view, view_budget

COUNTED: dict[str, Callable[[Mapping[str, Any]], ModelFlops]] = {
    "qwen2_5_vl": ModelFlops.of_qwen2_5_vl,
    "qwen3_vl": ModelFlops.of_qwen3_vl,
}
"""Family -> how the contents of its config.json are counted."""

HEADER_TOKENS = 3
"""Of the assistant's header, which stands after the images."""

IMAGE_MARKS = 2
"""Tokens around an image."""


Config = dict[str, Any]
"""The contents of a config.json, as far as they say what a model's weights are."""


def _qwen3_vl(
    hidden: int, layers: int, heads: int, mlp: int, tower: tuple[int, int, int]
) -> Config:
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
        "deepstack_visual_indexes": [8, 16, 24] if depth == 27 else [5, 11, 17],
    }
    return {"model_type": "qwen3_vl", "text_config": text, "vision_config": vision}


def _qwen2_5_vl(hidden: int, layers: int, heads: tuple[int, int], mlp: int, words: int) -> Config:
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
    return {"model_type": "qwen2_5_vl", "text_config": text, "vision_config": vision}


PUBLIC = {
    "Qwen3-VL-2B": _qwen3_vl(2048, 28, 16, 6144, (24, 1024, 4096)),
    "Qwen3-VL-4B": _qwen3_vl(2560, 36, 32, 9728, (24, 1024, 4096)),
    "Qwen3-VL-8B": _qwen3_vl(4096, 36, 32, 12288, (27, 1152, 4304)),
    "Qwen2.5-VL-3B": _qwen2_5_vl(2048, 36, (16, 2), 11008, 151936),
    "Qwen2.5-VL-7B": _qwen2_5_vl(3584, 28, (28, 4), 18944, 152064),
}
"""Models of the hub by the beginning of their names."""


def model_config(settings: ModelSettings) -> Config:
    """Of the model that the settings name: in a folder, in the hub's cache, or by public sizes."""
    name = settings.base_model_name
    path = _config_file(settings)
    if path is not None:
        return read_object(path)
    for known, config in PUBLIC.items():
        if name.rpartition("/")[2].startswith(known):
            return config
    raise CheckpointError(
        f"model.base_model_name: the sizes of {name!r} are not known, fetch its config.json"
        " into the hub's cache first"
    )


def model_flops(settings: ModelSettings) -> ModelFlops:
    """Counts the operations of the model that the settings name."""
    config = model_config(settings)
    if settings.family not in COUNTED:
        raise ConfigError(f"model.family: operations of {settings.family!r} cannot be counted")
    try:
        return COUNTED[settings.family](config)
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{_config_file(settings)}: not the sizes of a {settings.family} ({error})"
        ) from None


def _config_file(settings: ModelSettings) -> Path | None:
    folder = Path(settings.base_model_name)
    if folder.is_dir():
        return folder / "config.json"
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        settings.base_model_name, "config.json", revision=settings.revision
    )
    return Path(found) if isinstance(found, str) else None


def answer_flops(
    model: ModelFlops,
    images: Sequence[tuple[int, int]],
    view: str,
    budget: VisionBudget,
    prompt_tokens: int,
    answer_tokens: int,
) -> AnswerFlops:
    """Of one answer after a text pass of `prompt_tokens`, header included, to images by size."""
    shown, parsed = image_grids(images, view, budget), parse_view(view)
    length, cached, dropped = prompt_tokens, prompt_tokens, None
    if shown:
        count = num_vision_tokens(images, view, budget)
        length += count + IMAGE_MARKS * len(images)
        cached -= HEADER_TOKENS
        if (dropping := parsed.dropping) is not None:
            model.language_model.check(dropping)
            dropped = Dropped(count - dropping.kept(count), dropping.num_layers)
    attention = parsed.needs_attention
    return model.answer(shown, length, answer_tokens, cached, attention=attention, dropped=dropped)


def image_grids(images: Sequence[tuple[int, int]], view: str, budget: VisionBudget) -> list[Grid]:
    """The vision tokens of images (width, height) as the tower makes them under a view."""
    limits = view_budget(view, budget)
    if limits is None:
        return []
    sizes = [resized_size(width, height, limits, budget.factor) for width, height in images]
    return [(height // budget.factor, width // budget.factor) for width, height in sizes]

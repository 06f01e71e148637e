"""The model families of the tests: the packaged Qwen3-VL, and a random Qwen2.5-VL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from support.repository import TINY_MODEL

FAMILIES = ("qwen3_vl", "qwen2_5_vl")


def model_of(family: str, folder: Path, patch_size: int = 16) -> dict[str, Any]:
    """The section `model` for a tiny model of a family; `folder` takes what is made for it."""
    if family == "qwen3_vl":
        return {"base_model_name": str(TINY_MODEL)}
    write_tiny_qwen2_5_vl(folder, patch_size)
    return {"base_model_name": str(folder), "family": family}


def write_tiny_qwen2_5_vl(folder: Path, patch_size: int, seed: int = 0) -> None:
    """100,000 random weights, with the packaged tokenizer; windows are two tokens wide.

    The weights are large, so that answers depend on all that is read.
    """
    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 3, 3],
            },
            "initializer_range": 0.3,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": patch_size,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 4 * patch_size,
            "fullatt_block_indexes": [1],
            "out_hidden_size": 32,
            "initializer_range": 0.3,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(patch_size=patch_size, merge_size=2).save_pretrained(folder)

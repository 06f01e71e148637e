"""Vision-language models behind one interface; one file per model family.

A family is found by the `model_type` of the model's own config.json. To add one, write a
module with a class that has the methods of `vovnet.model.qwen3_vl.Qwen3VL` and name it in
`FAMILIES`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.config import ModelSettings, VisionBudget
from vovnet.core.errors import CheckpointError, ConfigError
from vovnet.core.files import sha256_file, sha256_json

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from vovnet.model.qwen3_vl import Qwen3VL

FAMILIES = {"qwen3_vl": ("vovnet.model.qwen3_vl", "Qwen3VL")}


def base_model_digest(settings: ModelSettings) -> str:
    """Hash of a local base model's files; a hub model is known by name and commit."""
    folder = Path(settings.base_model_name)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return sha256_json({path.name: sha256_file(path) for path in files})
    commit = getattr(_load_config(settings), "_commit_hash", None) or settings.revision
    return f"{settings.base_model_name}@{commit}"


def load_vlm(settings: ModelSettings, budget: VisionBudget) -> Qwen3VL:
    """Load a model, its tokenizer and image processor in the ordinary transformers layout."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # it would stand before an error on the same line
    if settings.family not in FAMILIES:
        raise ConfigError(
            f"model.family: expected one of {sorted(FAMILIES)}, got {settings.family!r}"
        )
    found = _load_config(settings).model_type
    if found != settings.family:
        raise CheckpointError(
            f"model.base_model_name: {settings.base_model_name!r} is of type {found!r},"
            f" expected {settings.family!r}, as model.family says"
        )
    module, name = FAMILIES[settings.family]
    return getattr(import_module(module), name)(settings, budget)


def _load_config(settings: ModelSettings) -> PretrainedConfig:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(settings.base_model_name, revision=settings.revision)
    except (OSError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise CheckpointError(
            f"model.base_model_name: cannot load {settings.base_model_name!r} ({first_line})"
        ) from None

"""Base models: loaded by their family, and known by a hash of their content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING

from vovnet.config import ModelSettings, VisionBudget
from vovnet.core.errors import CheckpointError, ConfigError, VovnetError, one_line
from vovnet.core.files import read_json, sha256_file, sha256_json
from vovnet.core.recorded import content_hash
from vovnet.model.families import check_family, family_class
from vovnet.pipeline.trained_model import TrainedModel

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from vovnet.model.vlm import VisionLanguageModel


PACKAGE = Path(__file__).parents[1]

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def check_base_model(model: ModelSettings) -> None:
    """Refuse a family that is not known, and a local folder that holds no model of that family.

    What lies on the hub is not asked.
    """
    check_family(model.family)
    name = model.base_model_name
    if not Path(name).is_dir():
        if HUB_NAME.fullmatch(name):
            return
        raise ConfigError(
            f"model.base_model_name: there is no folder {name!r} in {Path.cwd()}, and it is no name"
            " of the hub"
        )
    config = read_json(Path(name) / "config.json")
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != model.family:
        raise ConfigError(
            f"model.base_model_name: {name!r} is of type {found!r}, expected {model.family!r}, as"
            " model.family says"
        )


def base_model_files(settings: ModelSettings) -> list[Path]:
    """The files of a local base model, its pages left out; none for a model of the hub."""
    folder = Path(settings.base_model_name)
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in files if path.is_file() and path.suffix != ".md")


def base_model_digest(settings: ModelSettings, without: str | None = None) -> str:
    """Hash of a local base model's files but one; a hub model is known by name and commit."""
    if files := base_model_files(settings):
        return sha256_json({path.name: sha256_file(path) for path in files if path.name != without})
    return f"{settings.base_model_name}@{hub_commit(settings)}"


def hub_commit(settings: ModelSettings) -> str:
    """The commit of a model of the hub, by the folder of the cache in which its files lie."""
    from huggingface_hub import hf_hub_download

    _load_config(settings)  # which is downloaded where it is not there, or the branch has moved
    name, revision = settings.base_model_name, settings.revision
    path = hf_hub_download(name, "config.json", revision=revision, local_files_only=True)
    return Path(path).parent.name


def weights_digest(trained: TrainedModel) -> str:
    """Hash of the weights of a model: its trained ones, or those of the base model as it is."""
    if trained.is_base:
        return base_model_digest(trained.settings.model)
    return content_hash(trained.weights)


def load_vlm(settings: ModelSettings, budget: VisionBudget) -> VisionLanguageModel:
    """Load a model, its tokenizer and image processor in the ordinary transformers layout."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # it would stand before an error on the same line
    family = family_class(settings.family)
    found = _load_config(settings).model_type
    if found != settings.family:
        raise CheckpointError(
            f"model.base_model_name: {settings.base_model_name!r} is of type {found!r},"
            f" expected {settings.family!r}, as model.family says"
        )
    with _named(settings):
        return family(settings, budget)


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The tokenizer of a base model alone."""
    from transformers import AutoTokenizer

    with _named(settings):
        return AutoTokenizer.from_pretrained(
            settings.base_model_name, revision=settings.revision, trust_remote_code=False
        )


def _load_config(settings: ModelSettings) -> PretrainedConfig:
    from transformers import AutoConfig

    with _named(settings):
        return AutoConfig.from_pretrained(
            settings.base_model_name, revision=settings.revision, trust_remote_code=False
        )


@contextmanager
def _named(settings: ModelSettings) -> Iterator[None]:
    """Errors of transformers as one line, which names the setting."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"model.attn_implementation: {settings.attn_implementation!r} cannot be used"
            f" ({one_line(error)})"
        ) from None
    except (OSError, ValueError) as error:
        if "attn_implementation=" in str(error):
            raise ConfigError(
                "model.attn_implementation: expected 'varlen' or a name that transformers knows,"
                f" such as 'sdpa', got {settings.attn_implementation!r}"
            ) from None
        raise _unreadable(settings, one_line(error)) from None
    except (VovnetError, MemoryError):
        raise
    except Exception as error:
        # A library meets files that it did not foresee. A fault of this package stays one.
        *_, (frame, _) = walk_tb(error.__traceback__)
        within = Path(frame.f_code.co_filename).is_relative_to(PACKAGE)
        if within or "out of memory" in str(error):
            raise
        raise _unreadable(settings, f"{type(error).__name__}: {one_line(error)}") from None


def _unreadable(settings: ModelSettings, reason: str) -> CheckpointError:
    name = settings.base_model_name
    return CheckpointError(f"model.base_model_name: cannot load {name!r} ({reason})")

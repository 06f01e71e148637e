"""The settings under which a trained model answers, as its own folder tells them."""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from vovnet.config import (
    Settings,
    load,
    merge,
    read_layers,
    read_yaml,
    run_settings,
    set_layers,
    source_of,
    validate,
    yaml_text,
)
from vovnet.core.errors import ConfigError
from vovnet.pipeline.keys import plain, step_config_path
from vovnet.pipeline.steps import ANSWER_KEYS, PROMPT_KEYS
from vovnet.pipeline.trained_model import WEIGHTS_NAME, manifest_of, weights_file

RECIPE = "recipe.yaml"
"""In a saved folder: the settings with which the model was trained and answers."""

TOLD: dict[str, Any] = {
    **dict.fromkeys(("model", "actions", "vision_budget", "policy", "training"), True),
    "data": PROMPT_KEYS,
    "eval": ANSWER_KEYS,
}
"""The settings of a recipe, without those of datasets, which name files of one machine."""


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by `save_pretrained`."""
    return (folder / RECIPE).is_file()


def recipe_text(settings: Settings, base_model_name: str, revision: str | None) -> str:
    """The recipe of a model that is saved; layers are compiled where it was trained, not here."""
    value = plain(settings.model_dump(include=TOLD))
    here = dict.fromkeys(("compile", "gradient_checkpointing", "random_weights"), False)
    named = {"base_model_name": base_model_name, "revision": revision}
    return yaml_text(merge(value, {"model": here | named}))


def saved_settings(
    folder: Path, layers: Sequence[str] = (), assignments: Sequence[str] = ()
) -> Settings:
    """The recipe of a saved folder, on which further files and keys may be layered."""
    return load([folder / RECIPE, *layers], assignments)


def trained_settings(
    checkpoint: Path, layers: Sequence[str] = (), assignments: Sequence[str] = ()
) -> Settings:
    """The settings that the stage of a run was trained with, from the results folder it lies in.

    Further files and keys may be layered on them. A step is called with a configuration of its own,
    whose name has the hash in the manifest. How the model answers is in the manifest itself: it is
    not part of the hash, so that a later call with another answer length may rewrite the file.
    """
    stage = weights_file(checkpoint).resolve().parent
    manifest = manifest_of(stage / WEIGHTS_NAME)
    digest = str(manifest.get("key", {}).get("config", ""))
    # `<results>/runs/<run>/seed<seed>/stage<stage>`, or `<output_dir>/stage<stage>`
    for root in (*stage.parents[3:4], stage.parent):
        path = step_config_path(root, "train", digest)
        if digest and path.is_file():
            told = [read_yaml(path), {"eval": manifest.get("answers", {})}]
            told += [*read_layers(layers), *set_layers(assignments)]
            settings = validate(reduce(merge, told), source_of([path, *layers], assignments))
            settings = run_settings(settings, str(manifest["run"]), manifest["seed"])
            return _with_base_model(settings, root)
    raise ConfigError(f"{checkpoint}: does not tell its settings, expected --config")


def _with_base_model(settings: Settings, root: Path) -> Settings:
    """The settings with a local base model that is found from any folder.

    A relative path is one from the folder in which `results_dir` lies, here `root`.
    """
    name = Path(settings.model.base_model_name)
    results = Path(settings.results_dir)
    if name.is_dir() or name.is_absolute() or results.is_absolute():
        return settings
    found = root.parents[len(results.parts) - 1] / name
    if not found.is_dir():
        return settings
    value = merge(settings.model_dump(), {"model": {"base_model_name": str(found)}})
    return validate(value, str(root))

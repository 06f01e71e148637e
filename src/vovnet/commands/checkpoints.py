"""What commands on one checkpoint share: the settings of its run, and what is odd about it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.commands.common import Flag, load_settings
from vovnet.config import (
    merge,
    read_layers,
    run_kind,
    run_settings,
    set_layers,
    source_of,
    validate,
)
from vovnet.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vovnet.config import Settings, SplitRef
    from vovnet.core.layout import Layout


def checkpoint_flag(required: bool = True, **facts: Any) -> Flag:
    text = "a stage folder, an accelerate state folder, or a .pt file"
    facts = {"type": Path, "required": required, "metavar": "PATH", "help": text} | facts
    return Flag("--checkpoint", **facts)


def run_layers(args: argparse.Namespace, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a checkpoint's run as plain values, with no other run and no experiment.

    What the configuration overrides for the run holds from the last file that names runs; what
    files after it and `--set` say wins. The seed is that of the checkpoint where none is given.
    """
    runs = load_settings(args).runs
    layers = [*read_layers([*args.config, *args.dataset_config]), *set_layers(args.set)]
    named = str(manifest.get("run", ""))
    if named and named not in runs:
        raise ConfigError(
            f"runs: no run named {named!r}, as which {args.checkpoint} was trained, expected one of"
            f" {list(runs)}"
        )
    after = max((place for place, layer in enumerate(layers) if "runs" in layer), default=-1) + 1
    start: dict[str, Any] = {}
    overrides = {key: value for key, value in runs.get(named, {}).items() if key != "base"}
    own = _unless_said(overrides, reduce(merge, layers[after:], start))
    value = reduce(merge, layers, start)
    if "seed" in manifest and "seed" not in (value.get("training") or {}):
        value = merge(value, {"training": {"seed": manifest["seed"]}})
    report = dict(value.get("report") or {})
    for key in ("target", "further"):  # they name lists of experiments
        report.pop(key, None)
    alone = {"runs": {named or "checkpoint": own}, "experiments": {}, "targets": {}}
    return value | alone | {"report": report}


def run_settings_of(args: argparse.Namespace, manifest: Mapping[str, Any]) -> Settings:
    """The settings of a checkpoint's run, checked, with the run's overrides applied."""
    source = source_of([*args.config, *args.dataset_config], args.set)
    settings = validate(run_layers(args, manifest), source)
    (run,) = settings.runs
    kind = {run: run_kind(settings, run)}
    return run_settings(settings, run).model_copy(update={"runs": kind})


def _unless_said(overrides: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides without those of keys that `later` sets."""
    left = {}
    for key, value in overrides.items():
        said = later.get(key)
        if isinstance(value, Mapping) and isinstance(said, Mapping):
            left[key] = _unless_said(value, said)
        elif key not in later:
            left[key] = value
    return left


def tell_what_is_odd(
    checkpoint: Path, manifest: Mapping[str, Any], settings: Settings | None = None
) -> None:
    """Warn of a checkpoint whose head is untrained, or of another seed than results will say."""
    if settings is not None and manifest.get("seed", settings.training.seed) != (
        seed := settings.training.seed
    ):
        trained = manifest["seed"]
        note(f"{checkpoint}: was trained with seed {trained}, and results will say seed {seed}")
    if manifest.get("stage") == 1:
        note(f"{checkpoint}: is of stage 1, its policy head is untrained")
    elif has_untrained_head(checkpoint):
        note(f"{checkpoint}: its policy head is untrained, it scores every action alike")


def has_untrained_head(checkpoint: Path) -> bool:
    """Whether the head of a checkpoint gives 0 for every action, as it does before training."""
    import torch
    from safetensors import safe_open

    from vovnet.pipeline.trained_model import weights_file

    path, name = weights_file(checkpoint), "head.out.weight"
    try:
        if path.suffix == ".pt":
            stored: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            weights = [value for key, value in stored["model"].items() if key.endswith(name)]
        else:
            with safe_open(path, "pt") as file:
                weights = [file.get_tensor(key) for key in file.keys() if key.endswith(name)]  # noqa: SIM118
    except Exception:  # whoever loads it says what is wrong with it
        return False
    return bool(weights) and not any(bool(weight.any()) for weight in weights)


def check_prepared(settings: Settings, layout: Layout, parts: Iterable[SplitRef]) -> None:
    """Refuse parts of datasets that are not prepared, and say how they are."""
    for part in parts:
        path = layout.samples(part.dataset, part.split)
        if not path.exists():
            source = settings.data.datasets[part.dataset].source
            first = {"synthetic": "synthesize", "hub": "fetch"}.get(source)
            before = f"`vovnet {first} --dataset {part.dataset}` and " if first else ""
            raise DataError(
                f"{path}: file not found, run {before}`vovnet prepare --dataset {part.dataset}"
                f" --split {part.split}` with this configuration, or have snakemake do it"
            )


def note(text: str) -> None:
    print(f"vovnet: note: {text}", file=sys.stderr, flush=True)

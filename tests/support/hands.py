"""Commands typed by hand, on a model that was trained for two steps a stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.worlds import world_config
from vovnet.config import merge

SHORT: dict[str, Any] = {
    "training": {
        "batch_size": 8,
        "stage1_epochs": 0.2,
        "stage2_epochs": 0.2,
        "head_learning_rate": 0.1,  # two steps must move the scores
        "calibration_samples": 0,
    },
    "eval": {"shard_rows": 4},
}


@dataclass
class Hand:
    """A prepared results folder, its configuration layers and the checkpoints in it."""

    root: Path
    base: Path
    checkpoints: dict[str, Path] = field(default_factory=dict)

    def layer(self, name: str, value: dict[str, Any]) -> str:
        """A YAML file to layer on the base, as its path."""
        path = self.root / f"{name}.yaml"
        path.write_text(yaml.safe_dump(value), encoding="utf-8")
        return str(path)

    def arguments(self, command: str, output: Path, *more: str, form: str = "stage") -> list[str]:
        """A command on a checkpoint; `more` follows the shared flags."""
        checkpoint = ["--checkpoint", str(self.checkpoints[form])]
        return [
            *(command, "--config", str(self.base)),
            *("--dataset_config", self.layer("mmmu", one_set("synth_mmmu"))),
            *(*checkpoint, "--output_dir", str(output), *more),
        ]


def one_set(name: str) -> dict[str, Any]:
    """A dataset_config that evaluates one set."""
    split = {"synth_mmbench": "dev", "synth_mmmu": "validation", "synth_textvqa": "val"}[name]
    return {"data": {"eval_sets": {name: {"dataset": name, "split": split}}}}


def write_base(root: Path) -> Path:
    """The configuration of a short training, without experiments: those are by hand."""
    base = root / "base.yaml"
    value = merge(world_config(root), SHORT) | {"experiments": {}, "targets": {}}
    value["runs"] = {"vovnet": {}}
    base.write_text(yaml.safe_dump(value), encoding="utf-8")
    return base

"""The small embedded world of the tests: its configuration, and its settings in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.repository import ROOT, TINY_MODEL
from vovnet.config import Settings, merge, read_yaml, validate
from vovnet.core.layout import Layout

SETS = ("synth_mmbench", "synth_mmmu", "synth_textvqa")


def world_config(folder: Path) -> dict[str, Any]:
    """config/test.yaml with its files under `folder` and one seed."""
    value = read_yaml(ROOT / "config/test.yaml")
    value["results_dir"] = str(folder)
    for name, dataset in value["data"]["datasets"].items():
        dataset["root"] = str(folder / "raw" / name)
    small = {
        "model": {"base_model_name": str(TINY_MODEL)},
        "data": {"synthetic": {"num_eval_questions": 15, "num_train_questions": 24}},
        "seeds": [0],
    }
    return merge(value, small)


def settings_of(layout: Layout, overrides: dict[str, Any] | None = None) -> Settings:
    """Settings of the small world in a layout's folder."""
    return validate(merge(world_config(layout.root), overrides or {}), "test settings")

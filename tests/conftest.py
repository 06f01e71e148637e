"""What several test files share: the package's model, and a prepared world of a few questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vovnet import cli
from vovnet.config import Settings, merge, read_yaml, validate
from vovnet.core.layout import Layout

ROOT = Path(__file__).resolve().parents[1]
TINY_MODEL = ROOT / "src/vovnet/assets/tiny-qwen3-vl"


def world_config(folder: Path) -> dict[str, Any]:
    """config/test.yaml with its files under `folder` and one seed."""
    value = read_yaml(ROOT / "config/test.yaml")
    value["results_dir"] = str(folder)
    for name, dataset in value["data"]["datasets"].items():
        dataset["root"] = str(folder / "raw" / name)
    small = {
        "model": {"base_model_name": str(TINY_MODEL)},
        "data": {"synthetic": {"num_eval_questions": 14, "num_train_questions": 24}},
        "seeds": [0],
    }
    return merge(value, small)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with four prepared synthetic datasets, made by the commands themselves.

    Tests read it; those that write use `fresh`.
    """
    import yaml

    folder = tmp_path_factory.mktemp("world")
    value = world_config(folder)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(value), encoding="utf-8")
    for dataset, definition in value["data"]["datasets"].items():
        assert cli.main(["synthesize", "--config", str(config), "--dataset", dataset]) == 0
        for split in definition["files"]:
            arguments = ["--config", str(config), "--dataset", dataset, "--split", split]
            assert cli.main(["prepare", *arguments]) == 0
    return folder


@pytest.fixture
def fresh(world: Path, tmp_path: Path) -> Layout:
    """A layout of its own whose prepared data is that of `world`."""
    (tmp_path / "data").symlink_to(world / "data", target_is_directory=True)
    return Layout(tmp_path)


def settings_of(layout: Layout, overrides: dict[str, Any] | None = None) -> Settings:
    """Settings of the small world in a layout's folder."""
    return validate(merge(world_config(layout.root), overrides or {}), "test settings")

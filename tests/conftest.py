"""Fixtures that several test files ask for. Those that need torch import it themselves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hands import Hand, write_base
from support.live import VIEWS, live_settings
from support.projects import copy_project
from support.replays import EVEN, GRADED, World, evaluate_all, write_world
from support.worlds import SETS, world_config
from vovnet import cli
from vovnet.core.layout import Layout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: the last one to begin would keep one core at work, and no other."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Timed runs are alone, whatever test files run beside this one.

    Programs that tests start keep their byte code for the next one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("GPU_LEASES", str(tmp_path_factory.mktemp("leases")))
        yield


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


@pytest.fixture(scope="session")
def observed_once(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder that `observed` copies."""
    from support.models import save_stage2
    from vovnet.inference.observe import observe_shard
    from vovnet.inference.shards import gather
    from vovnet.pipeline.trained_model import TrainedModel

    layout = Layout(tmp_path_factory.mktemp("observed"))
    (layout.root / "data").symlink_to(world / "data", target_is_directory=True)
    settings = live_settings(layout)
    save_stage2(settings, layout)
    trained = TrainedModel(settings, layout, "vovnet", 0)
    for name in SETS:
        for views in ([], VIEWS):
            observe_shard(trained, name, 0, 1, views)
            gather(trained, name, views)
    return layout.root


@pytest.fixture
def observed(observed_once: Path, tmp_path: Path) -> Layout:
    """Every view of every set of `world`, observed and gathered, in a folder of its own."""
    shutil.copytree(observed_once, tmp_path, symlinks=True, dirs_exist_ok=True)
    return Layout(tmp_path)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project without results."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    return folder


@pytest.fixture(scope="session")
def hand(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Hand:
    """Trained for two steps a stage; the checkpoint in each form that evaluation takes."""
    from vovnet.training.checkpoints import list_checkpoints

    root = tmp_path_factory.mktemp("hand")
    (root / "data").symlink_to(world / "data", target_is_directory=True)
    hand = Hand(root, write_base(root))
    assert cli.main(["train", "--config", str(hand.base)]) == 0
    stage2 = root / "runs/vovnet/seed0/stage2"
    ((_, state),) = list_checkpoints(stage2)
    hand.checkpoints = {"stage": stage2, "accelerate": state}
    as_pt = hand.layer("pt", {"training": {"checkpoint_format": "pt"}, "results_dir": f"{root}/pt"})
    (root / "pt").mkdir()
    (root / "pt/data").symlink_to(world / "data", target_is_directory=True)
    assert cli.main(["train", "--config", str(hand.base), "--config", as_pt]) == 0
    ((_, hand.checkpoints["pt"]),) = list_checkpoints(root / "pt/runs/vovnet/seed0/stage2")
    return hand


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two sets, two seeds, every experiment evaluated and compared; tests only read it."""
    from vovnet.evaluation.hull_metrics import hull_metrics

    root = tmp_path_factory.mktemp("replay")
    settings, layout = write_world(root, {"graded": GRADED, "even": EVEN}, [0, 1], count=600)
    evaluate_all(settings, layout)
    hull_metrics(settings, layout)
    return settings, layout

"""Training followed by a tracker: what it is told, and that it changes nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from accelerate import PartialState

from vovnet import cli
from vovnet.commands import tracking
from vovnet.commands.tracking import check_tracker, tracked
from vovnet.config import Settings
from vovnet.core.errors import ConfigError, VovnetError
from vovnet.core.files import append_text, write_json
from vovnet.core.layout import Layout
from vovnet.pipeline.claims import claimed_folder
from vovnet.pipeline.keys import step_digest
from vovnet.pipeline.trained_model import TrainedModel

PAIRS = {"full-no": {"ece": 0.08, "slope": 0.93, "bins": []}}


def settings_with(tracker: str | None, root: Path = Path("elsewhere")) -> Settings:
    value = {"results_dir": str(root), "training": {"tracker": tracker, "batch_size": 8}}
    return Settings.model_validate(value)


def train(settings: Settings, first: int = 1, last: int = 3) -> None:
    """What training does as far as others see it: lines of a log, results, a manifest."""
    PartialState(cpu=True)
    layout = settings.layout
    trained = TrainedModel(settings, layout, "vovnet", 1)
    seen: list[int] = []
    folder, told = trained.stage(2), layout.root / "tracking"
    with (
        tracked(trained, 2, told, lambda done, _: seen.append(done)) as on_step,
        claimed_folder(folder, {"config": "c", "code": "c"}),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        for step in range(first, last + 1):
            line = {"step": step, "stage": 2, "loss": 1 / step, "ce_no": None, "left_out": True}
            append_text(folder / "train_log.jsonl", json.dumps(line) + "\n")
            on_step(step, last)
        write_json(folder / "calibration.json", {"pairs": PAIRS})
        write_json(folder / "manifest.json", {"num_steps": last, "num_samples": 24})
    assert seen == list(range(first, last + 1))


def test_tensorboard_has_the_curves_the_configuration_and_the_results(tmp_path: Path) -> None:
    read = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = settings_with("tensorboard", tmp_path)
    train(settings)
    train(settings, first=4, last=5)  # goes on after it was killed
    folder = tmp_path / "tracking" / "vovnet-seed1-stage2"
    found = read.EventAccumulator(str(folder)).Reload()
    losses = [(event.step, event.value) for event in found.Scalars("loss")]
    assert losses == [(step, pytest.approx(1 / step)) for step in range(1, 6)]
    assert found.Scalars("result/calibration/full-no/slope")[-1].value == pytest.approx(0.93)
    assert not {"ce_no", "left_out", "step"} & set(found.Tags()["scalars"])
    (told, _) = sorted(folder.rglob("hparams.yml"))
    assert yaml.safe_load(told.read_text())["training/batch_size"] == 8


def test_a_tracker_changes_no_result() -> None:
    digests = {
        step_digest(settings_with(tracker), "train", run="vovnet", seed=0, stage=2)
        for tracker in (None, "tensorboard", "wandb")
    }
    assert len(digests) == 1
    assert settings_with(None).training.tracker is None, "the default"


@pytest.mark.parametrize("name", ["wandb", "trackio", "mlflow"])
def test_a_tracker_that_is_missing_is_one_line_before_anything_is_trained(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=f"^training.tracker: {name} is not installed here"):
        check_tracker(name)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"results_dir": str(tmp_path), "training": {"tracker": name}}))
    assert cli.main(["train", "--config", str(config), "--seed", "0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"training.tracker: {name} is not installed" in line and f"pip install {name}" in line


class Wandb(ModuleType):
    """Stands for wandb; fails where it is told to."""

    def __init__(self, fails: str = "") -> None:
        super().__init__("wandb")
        self.fails, self.told, self.config = fails, list[dict[str, Any]](), self
        self.mode = ""

    def init(self, **arguments: Any) -> Wandb:
        if self.fails == "init":
            raise RuntimeError("no login\nsecond line")
        self.mode = tracking.os.environ["WANDB_MODE"]
        return self

    def update(self, values: dict[str, Any], **_: Any) -> None:
        self.told.append(values)

    def log(self, values: dict[str, Any], step: int) -> None:
        if self.fails == "log" or self.fails in values:
            raise RuntimeError("no network")
        self.told.append(values)

    def finish(self) -> None:
        if self.fails == "finish":
            raise RuntimeError("no network")
        self.told.append({"finished": 1})


def with_wandb(monkeypatch: pytest.MonkeyPatch, fails: str = "") -> Wandb:
    wandb = Wandb(fails)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(tracking.os, "environ", dict(tracking.os.environ))
    tracking.os.environ.pop("WANDB_MODE", None)
    return wandb


def test_wandb_stays_on_this_machine_unless_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wandb = with_wandb(monkeypatch)
    train(settings_with("wandb", tmp_path / "offline"))
    assert wandb.mode == "offline"
    assert wandb.told[0]["training/batch_size"] == 8 and wandb.told[1] == {"loss": 1.0}
    assert wandb.told[-2]["result/num_steps"] == 3 and wandb.told[-1] == {"finished": 1}
    tracking.os.environ["WANDB_MODE"] = "online"
    train(settings_with("wandb", tmp_path / "online"))
    assert wandb.mode == "online"


@pytest.mark.parametrize("fails", ["log", "result/num_steps", "finish"])
def test_training_goes_on_without_a_tracker_that_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, fails: str
) -> None:
    with_wandb(monkeypatch, fails)
    train(settings_with("wandb", tmp_path / "log"))
    assert caplog.messages == ["training.tracker: wandb fails and is left out: no network"]
    with_wandb(monkeypatch, "init")
    with pytest.raises(VovnetError, match=r"^training.tracker: wandb does not start: no login$"):
        train(settings_with("wandb", tmp_path / "init"))
    assert not Layout(tmp_path / "init").stage("vovnet", 1, 2).joinpath("manifest.json").exists()


def test_a_tracker_ends_where_training_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wandb = with_wandb(monkeypatch)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(globals(), "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(settings_with("wandb", tmp_path))
    assert wandb.told[-1] == {"finished": 1}

"""Large models: low-rank adapters over a frozen base in half precision."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import settings_of

from vovnet.config import Settings
from vovnet.data.sets import load_train
from vovnet.inference import Inference
from vovnet.layout import Layout
from vovnet.model import VoVNet, load_trained, save_weights
from vovnet.observe import observe_rows
from vovnet.training.stage import train_stage

CPU = torch.device("cpu")
LORA: dict[str, Any] = {"r": 4, "alpha": 8, "dropout": 0.05}
TRAINING: dict[str, Any] = {
    "batch_size": 8,
    "stage1_epochs": 0.3,
    "stage2_epochs": 0.3,
    "save_every": 1,
    "keep_checkpoints": 9,
    "calibration_samples": 0,
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_adapters_are_float32_over_a_base_in_half_precision(fresh: Layout, dtype: str) -> None:
    """They are what is trained; the base is frozen, and both come back from a file."""
    model_settings = {"dtype": dtype, "lora": LORA}
    settings = settings_of(fresh, {"model": model_settings})
    model = VoVNet(settings)
    adapters = {name: value for name, value in model.vlm.named_parameters() if "lora_" in name}
    assert adapters
    for name, value in model.vlm.named_parameters():
        assert value.requires_grad == (name in adapters), name
        assert value.dtype == (torch.float32 if name in adapters else getattr(torch, dtype)), name
    with torch.no_grad():
        for value in adapters.values():
            value.fill_(1 / 3)  # no number of 16 bits
    save_weights(model, fresh.root / "model.safetensors")
    loaded = load_trained(settings, fresh.root / "model.safetensors", CPU)
    assert_equal(loaded.state_dict(), model.state_dict())
    sequence = loaded.vlm.sequence(loaded.vlm.prompt("What is shown?"))
    with torch.inference_mode():
        hidden_BTD, _ = loaded.vlm.hidden_states([sequence])
    assert hidden_BTD.dtype == getattr(torch, dtype)
    assert bool(hidden_BTD.isfinite().all())


def assert_equal(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert some.keys() == others.keys()
    for name, value in some.items():
        assert value.dtype == others[name].dtype, name
        assert torch.equal(value, others[name]), name


def stage_of(layout: Layout, stage: int) -> Path:
    return layout.stage("vovnet", 0, stage)


def undo(folder: Path, step: int) -> None:
    """Leave of a finished stage what a kill right after the checkpoint of `step` leaves."""
    for path in folder.iterdir():
        number = path.name.removeprefix("checkpoint-").removesuffix(".pt")
        if number.isdigit() and int(number) > step:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("model.safetensors", "manifest.json"):
        (folder / name).unlink()


@pytest.mark.parametrize("form", ["accelerate", "pt"])
def test_resuming_is_exact_with_dropout(fresh: Layout, form: str) -> None:
    overrides = {"model": {"lora": LORA}, "training": {**TRAINING, "checkpoint_format": form}}
    settings = settings_of(fresh, overrides)
    for stage in (1, 2):
        train_stage(settings, fresh, "vovnet", 0, stage)
        path = stage_of(fresh, stage) / "model.safetensors"
        whole = path.read_bytes()
        undo(stage_of(fresh, stage), 1)
        train_stage(settings, fresh, "vovnet", 0, stage)
        assert path.read_bytes() == whole


def train_by_two(settings: Settings, layout: Layout) -> None:
    """Both stages on two processes, over gloo."""
    value = settings.model_dump(mode="json") | {"experiments": {}, "targets": {}}
    config = layout.root / "config.yaml"
    config.write_text(yaml.safe_dump(value | {"runs": {"vovnet": {}}}), encoding="utf-8")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    result = subprocess.run(
        [sys.executable, *launch, "-m", "vovnet", "train", "--config", str(config)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "FutureWarning" not in result.stderr


def test_the_training_of_large_models(fresh: Layout) -> None:
    """All that config/paper.yaml switches on: trained, resumed, loaded and observed."""
    overrides = {
        "model": {"dtype": "bfloat16", "gradient_checkpointing": True, "lora": LORA},
        "training": {
            **TRAINING,
            "num_processes": 2,
            "num_workers": 2,
            "mixed_precision": "bf16",
            "gradient_accumulation_steps": 2,
        },
    }
    settings = settings_of(fresh, overrides)
    base = VoVNet(settings).state_dict()
    train_by_two(settings, fresh)
    path = stage_of(fresh, 2) / "model.safetensors"
    whole = path.read_bytes()
    undo(stage_of(fresh, 2), 1)
    train_by_two(settings, fresh)
    assert path.read_bytes() == whole
    trained = load_trained(settings, path, CPU)
    for name, value in trained.state_dict().items():
        learned = "lora_" in name or name.startswith("head.")
        assert value.dtype == (torch.float32 if learned else torch.bfloat16), name
        assert torch.equal(value, base[name]) != learned, name
    samples = load_train(settings, fresh)[:3]
    rows = observe_rows(Inference(trained, settings), fresh, samples)
    assert list(rows["id"]) == [sample.id for sample in samples]
    assert rows["score_full"].notna().all()

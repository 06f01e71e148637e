"""Large models: low-rank adapters over a frozen base in half precision."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from support.commands import train_on_two
from support.repository import TINY_MODEL
from support.worlds import settings_of
from vovnet.config import Settings
from vovnet.core.errors import CheckpointError
from vovnet.core.layout import Layout
from vovnet.data.sets import load_train
from vovnet.inference.engine import Inference
from vovnet.inference.observe import observe_samples
from vovnet.model.tiny import write_tiny_model
from vovnet.model.vovnet import VoVNet, load_trained, load_weights, save_weights
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.training.checkpoints import list_checkpoints
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
    loaded = load_adapters(settings, fresh.root / "model.safetensors")
    assert_equal(all_weights(loaded), all_weights(model))
    sequence = loaded.vlm.sequence(loaded.vlm.prompt("What is shown?"))
    with torch.inference_mode():
        hidden_BTD, _ = loaded.vlm.hidden_states([sequence])
    assert hidden_BTD.dtype == getattr(torch, dtype)
    assert bool(hidden_BTD.isfinite().all())


def load_adapters(settings: Settings, path: Path) -> VoVNet:
    """As training resumes: the adapters beside their base."""
    model = VoVNet(settings)
    load_weights(model, path)
    return model


def test_merged_adapters_answer_alike(fresh: Layout) -> None:
    """In float32: the same tokens, and scores within rounding; no adapter is left."""
    settings = settings_of(fresh, {"model": {"lora": LORA}})
    torch.manual_seed(0)
    model = VoVNet(settings).eval()
    for name, value in model.named_parameters():
        if "lora_" in name or name.startswith("head.out"):
            torch.nn.init.normal_(value, std=0.05)
    save_weights(model, fresh.root / "model.safetensors")
    merged = load_trained(settings, fresh.root / "model.safetensors", CPU)
    assert not any("lora_" in name for name, _ in merged.named_parameters())
    samples = load_train(settings, fresh)[:12]
    apart, together = (
        observe_samples(Inference(each, settings), fresh, samples, ["no", "coarse", "full"])
        for each in (model, merged)
    )
    for one, other in zip(apart.rows, together.rows, strict=True):
        for view, answer in one.answers.items():
            assert answer.token_ids == other.answers[view].token_ids
    pd.testing.assert_frame_equal(apart.signals, together.signals, rtol=0, atol=1e-4)


def all_weights(model: VoVNet) -> dict[str, torch.Tensor]:
    """Also those that a state leaves out."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


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
    for name in ("model.safetensors", "manifest.json", "complete.json"):
        (folder / name).unlink()


@pytest.mark.parametrize("form", ["accelerate", "pt"])
def test_resuming_is_exact_with_dropout(fresh: Layout, form: str) -> None:
    overrides = {"model": {"lora": LORA}, "training": {**TRAINING, "checkpoint_format": form}}
    settings = settings_of(fresh, overrides)
    for stage in (1, 2):
        train_stage(TrainedModel(settings, fresh, "vovnet", 0), stage)
        path = stage_of(fresh, stage) / "model.safetensors"
        whole = path.read_bytes()
        undo(stage_of(fresh, stage), 1)
        train_stage(TrainedModel(settings, fresh, "vovnet", 0), stage)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("form", ["accelerate", "pt"])
def test_checkpoints_hold_no_frozen_weight(fresh: Layout, form: str) -> None:
    """Neither those that are resumed from nor the last one, in both stages."""
    overrides = {"model": {"lora": LORA}, "training": {**TRAINING, "checkpoint_format": form}}
    settings = settings_of(fresh, overrides)
    for stage in (1, 2):
        train_stage(TrainedModel(settings, fresh, "vovnet", 0), stage)
        folder = stage_of(fresh, stage)
        checkpoint = list_checkpoints(folder)[-1][1]
        state = (
            torch.load(checkpoint, weights_only=True)["model"]
            if form == "pt"
            else load_file(checkpoint / "model.safetensors")
        )
        for names in (set(state), set(load_file(folder / "model.safetensors"))):
            assert any("lora_" in name for name in names)
            assert any("head." in name for name in names)
            assert all("lora_" in name or "head." in name for name in names)
        states = [load_trained(settings, path, CPU).state_dict() for path in (folder, checkpoint)]
        assert_equal(*states)


def test_adapters_need_all_their_weights_and_their_base(fresh: Layout) -> None:
    base = fresh.root / "base"
    shutil.copytree(TINY_MODEL, base)
    model_settings = {"base_model_name": str(base), "lora": LORA}
    settings = settings_of(fresh, {"model": model_settings, "training": TRAINING})
    train_stage(TrainedModel(settings, fresh, "vovnet", 0), 1)
    path = stage_of(fresh, 1) / "model.safetensors"
    state = load_file(path)
    lost = next(name for name in state if "lora_" in name)
    part = fresh.root / "part.safetensors"
    save_file({name: value for name, value in state.items() if name != lost}, part)
    with pytest.raises(CheckpointError, match=r"lora_.* is missing"):
        load_trained(settings, part, CPU)
    with pytest.raises(CheckpointError, match="of another model"):
        load_trained(settings_of(fresh), path, CPU)
    write_tiny_model(base, seed=1)
    with pytest.raises(CheckpointError, match="trained over another base model"):
        load_trained(settings, path, CPU)


def test_the_training_of_large_models(fresh: Layout) -> None:
    """All that config/paper.yaml switches on: trained, resumed, loaded and observed."""
    overrides = {
        "model": {
            "dtype": "bfloat16",
            "attn_implementation": "varlen",
            "gradient_checkpointing": True,
            "lora": LORA,
        },
        "training": {
            **TRAINING,
            "num_processes": 2,
            "num_workers": 2,
            "mixed_precision": "bf16",
            "micro_batch_tokens": 100,
        },
    }
    settings = settings_of(fresh, overrides)
    base = all_weights(VoVNet(settings))
    assert "FutureWarning" not in train_on_two(settings, fresh)
    path = stage_of(fresh, 2) / "model.safetensors"
    whole = path.read_bytes()
    undo(stage_of(fresh, 2), 1)
    train_on_two(settings, fresh)
    assert path.read_bytes() == whole
    trained = load_adapters(settings, path)
    for name, value in trained.named_parameters():
        learned = "lora_" in name or name.startswith("head.")
        assert value.dtype == (torch.float32 if learned else torch.bfloat16), name
        assert torch.equal(value, base[name]) != learned, name
    assert set(load_file(path)) == set(trained.state_dict())
    checkpoint = list_checkpoints(path.parent)[-1][1]
    assert_equal(all_weights(load_adapters(settings, checkpoint)), all_weights(trained))
    samples = load_train(settings, fresh)[:3]
    merged = load_trained(settings, path, CPU)
    signals = observe_samples(Inference(merged, settings), fresh, samples, ["full"]).signals
    assert list(signals["id"]) == [sample.id for sample in samples]
    assert signals["score_full"].notna().all()

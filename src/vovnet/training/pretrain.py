"""How the tiny base model is made: random weights, then phases of the synthetic world.

The fine skills are learned where they are practised alone; what the text tells is learned where no
picture distracts; the last phase puts all of it together (configuration: `pretraining`).
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from vovnet.config import Settings, merge, validate
from vovnet.core.errors import ConfigError
from vovnet.core.files import write_json
from vovnet.data.world.stream import WorldStream
from vovnet.model.tiny import write_tiny_model
from vovnet.model.vovnet import device_name
from vovnet.pipeline.manifest import package_versions
from vovnet.training.loop import Trainer

OnStep = Callable[[int, int], None]


def pretrain(settings: Settings, work_dir: Path, on_step: OnStep | None = None) -> Path:
    """Run every phase, or go on where a killed call was; returns the folder of the last model."""
    if not settings.pretraining:
        raise ConfigError("pretraining: expected at least one phase, it is empty")
    model = work_dir / "random"
    write_tiny_model(model, settings.training.seed)
    for name in settings.pretraining:
        exported = work_dir / name / "model"
        if not (exported / "pretraining.json").exists():
            _run_phase(settings, name, model, work_dir / name, on_step)
        model = exported
    return model


def _run_phase(
    settings: Settings, name: str, start: Path, folder: Path, on_step: OnStep | None
) -> None:
    """Stage 1 of the ordinary trainer on an endless stream; the record is written last."""
    phase = settings.pretraining[name]
    overrides = {
        "model": {"base_model_name": str(start)},
        "training": {
            "fsdp": False,
            "stage1_epochs": 1.0,
            "stage1_baseline_name": "random_policy_matched",
            "stage1_target_ratios": phase.view_shares,
            "stage1_learning_rate": phase.learning_rate,
        },
    }
    phase_settings = validate(merge(settings.model_dump(), overrides), f"pretraining.{name}")
    seed = settings.training.seed + list(settings.pretraining).index(name)
    stream = WorldStream(seed, phase.num_samples, phase.templates)
    trainer = Trainer(phase_settings, 1, folder, stream, stream.load_images)
    began = time.perf_counter()
    trainer.run(on_step)
    if trainer.accelerator.is_main_process:
        model = trainer.model.vlm
        model.to("cpu", torch.float16)
        model.save_base(folder / "model")
        record = {
            "phase": name,
            "stream_seed": seed,
            **phase.model_dump(mode="json"),
            "batch_size": settings.training.batch_size,
            "device": device_name(),
            "wall_s_of_last_call": round(time.perf_counter() - began),
            "versions": package_versions(),
        }
        write_json(folder / "model" / "pretraining.json", record)
    trainer.accelerator.wait_for_everyone()

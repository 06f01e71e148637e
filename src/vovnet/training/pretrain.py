"""How the tiny base model is made: random weights, then phases of the synthetic world.

The fine skills are learned where they are practised alone; what the text tells is learned where no
picture distracts; the last phase puts all of it together (configuration: `pretraining`).
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from vovnet.config import Settings, merge, validate
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import write_json
from vovnet.core.recorded import content_hash, recorded
from vovnet.data.world.stream import WorldStream
from vovnet.model.loading import base_model_digest
from vovnet.model.tiny import write_tiny_model
from vovnet.model.vovnet import device_name
from vovnet.pipeline.claims import MANIFEST
from vovnet.pipeline.keys import step_key
from vovnet.pipeline.manifest import package_versions, write_manifest
from vovnet.pipeline.trained_model import weights_file
from vovnet.training.loop import LOG_NAME, Trainer
from vovnet.training.processes import claimed_for_all, processes

OnStep = Callable[[int, int], None]

RECORD = "pretraining.json"
"""Tells beside an exported model how it was made, and the hashes of its files."""


def pretrain(settings: Settings, work_dir: Path, on_step: OnStep | None = None) -> Path:
    """Run every phase, or go on where a killed call was; returns the folder of the last model.

    A phase is run again where its own settings, the code or the model that it starts from have
    changed; what another recipe made is set aside, see `claimed_folder`. A model that is not as it
    was exported is exported again from the phase's weights.
    """
    if not settings.pretraining:
        raise ConfigError("pretraining: expected at least one phase, it is empty")
    state, model = processes(), work_dir / ".random"  # hidden, as no phase is
    if state.is_main_process:
        write_tiny_model(model, settings.training.seed)
    state.wait_for_everyone()
    for name in settings.pretraining:
        folder = work_dir / name
        exported = folder / "model"
        key = _key(settings, name, model)
        with claimed_for_all(folder, key) as complete:
            if not complete or not _is_whole(exported):
                _run_phase(settings, name, model, folder, key, on_step)
        model = exported
    return model


def _key(settings: Settings, name: str, start: Path) -> dict[str, str]:
    """The hashes of what a phase is made from: no other phase counts but by the model it left."""
    alone = settings.model_copy(update={"pretraining": {name: settings.pretraining[name]}})
    model = settings.model.model_copy(update={"base_model_name": str(start)})
    start_from = base_model_digest(model, without=RECORD)  # which tells how long it took
    return step_key(alone, "pretrain") | {"start_from": start_from}


def _is_whole(model: Path) -> bool:
    """Whether every file of an exported model is as it was written."""
    try:
        files = list(recorded(model / RECORD))
    except DataError:
        return False
    return bool(files) and all(
        (model / name).exists() and content_hash(model / name) == digest for name, digest in files
    )


def _run_phase(
    settings: Settings,
    name: str,
    start: Path,
    folder: Path,
    key: Mapping[str, str],
    on_step: OnStep | None,
) -> None:
    """Stage 1 of the ordinary trainer on an endless stream; record and manifest come last."""
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
        exported = folder / "model"
        model.save_base(exported)
        files = sorted(path for path in exported.iterdir() if path.name != RECORD)
        record = {
            "phase": name,
            "stream_seed": seed,
            **phase.model_dump(mode="json"),
            "batch_size": settings.training.batch_size,
            "device": device_name(),
            "wall_s_of_last_call": round(time.perf_counter() - began),
            "versions": package_versions(),
            "outputs": {
                path.name: {"path": path.name, "sha256": content_hash(path)} for path in files
            },
        }
        write_json(exported / RECORD, record)
        write_manifest(
            folder / MANIFEST,
            step=f"pretraining {name}",
            settings=phase_settings,
            outputs={"weights": weights_file(folder), "log": folder / LOG_NAME},
            key=key,
        )
    trainer.accelerator.wait_for_everyone()

"""One training stage as a step of the pipeline: from prepared samples to a manifest."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from vovnet.core.files import write_json
from vovnet.core.recorded import check_recorded, content_hash
from vovnet.data.images import load_images
from vovnet.data.price import priced
from vovnet.data.samples import SampleSet
from vovnet.data.sets import load_train
from vovnet.model.loading import base_model_digest
from vovnet.pipeline.claims import MANIFEST, recipe_folder
from vovnet.pipeline.manifest import write_manifest
from vovnet.pipeline.trained_model import TrainedModel, weights_file
from vovnet.training.calibration import measure_calibration, split_held_out
from vovnet.training.examples import ImageLoader, TrainingSet
from vovnet.training.loop import LOG_NAME, Trainer
from vovnet.training.processes import claimed_for_all, processes


def train_stage(
    trained: TrainedModel,
    stage: int,
    on_step: Callable[[int, int], None] | None = None,
    *,
    beside: bool = False,
) -> Path:
    """Train a stage, or go on where a killed one was; returns its folder.

    The manifest is written last; a stage that has one of the same recipe is not trained again.
    Stage 2 starts from the language and vision model of stage 1, and ends with the calibration
    of the head's scores on held-out training samples. The run's folder is cleared for this recipe,
    see `claimed_folder`; with `beside`, another recipe in it stays, and this one lies beside it.
    """
    settings = trained.settings
    samples = load_train(settings, trained.layout)
    policy = priced(settings.policy, samples, settings.vision_budget)
    settings = settings.model_copy(update={"policy": policy})
    kept, held_out = split_held_out(samples, settings.training.calibration_samples)
    base_model, choose = base_model_digest(settings.model), recipe_folder if beside else _own_folder
    start_from, origin = None, base_model
    if stage == 2:
        owner = trained.stage1_model
        start_from = weights_file(choose(owner.stage(1), _key(owner, 1, samples, base_model)))
        check_recorded(start_from, start_from.with_name(MANIFEST))
        origin = content_hash(start_from)
    key = _key(trained, stage, samples, origin)
    folder = choose(trained.stage(stage), key)
    state = processes()
    with claimed_for_all(folder, key) as complete:
        if complete:
            return folder
        load = partial(load_images, settings, trained.layout)
        trainer = Trainer(settings, stage, folder, kept, load, start_from)
        trainer.run(on_step if state.is_main_process else None)
        measured = stage == 2 and bool(held_out)
        if not state.is_main_process and not (measured and trainer.cut):
            return folder
        calibration = _calibration(trainer, held_out, load) if measured else None
        if not state.is_main_process:
            return folder
        outputs = {"weights": weights_file(folder), "log": folder / LOG_NAME}
        if calibration is not None:
            outputs["calibration"] = folder / "calibration.json"
            write_json(outputs["calibration"], calibration)
        write_manifest(
            folder / "manifest.json",
            step=f"train stage {stage}",
            settings=settings,
            inputs={"start_from": start_from} if start_from else {},
            outputs=outputs,
            **trained.facts,
            stage=stage,
            key=key,
            base_model=base_model,
            answers=settings.eval.model_dump(mode="json"),
            num_steps=trainer.total_steps,
            num_samples=len(kept),
            num_held_out=len(held_out),
            num_processes=state.num_processes,
            device=str(state.device),
            **({"cut_over_processes": True} if trainer.cut else {}),
        )
    return folder


def _calibration(trainer: Trainer, held_out: SampleSet, load: ImageLoader) -> dict[str, Any]:
    """What `measure_calibration` finds; every process takes part where the model is cut."""
    objective, settings = trainer.bare_objective, trainer.settings
    examples = TrainingSet(held_out, load, objective.model.vlm, settings, 2, len(held_out))
    size, limit = trainer.samples_per_process, settings.training.tokens_at_once(2)
    if limit is not None:
        longest = max(examples.num_tokens(row) for row in range(len(examples)))
        size = max(1, min(size, limit // longest))
    with trainer.accelerator.autocast() if trainer.cut else nullcontext():
        return measure_calibration(objective, examples, size)


def _key(trained: TrainedModel, stage: int, samples: SampleSet, start_from: str) -> dict[str, str]:
    """The hashes of what a stage is made from; `start_from` is that of the weights before it."""
    made_of = {"samples": samples.content_key(), "start_from": start_from}
    return trained.key("train", stage=stage) | made_of


def _own_folder(folder: Path, key: dict[str, str]) -> Path:
    """A stage's own folder, whatever recipe lies in it."""
    return folder

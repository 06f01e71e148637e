"""The training loop: the same for one process, several, and a cluster.

Resuming at step s continues with exactly the examples, noise, optimizer and schedule that
an undisturbed run would have had there, so the final weights are the same.
"""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from torch.utils.data import DataLoader

from vovnet.config import Settings
from vovnet.core.errors import CheckpointError, ConfigError, VovnetError
from vovnet.core.files import atomic_path, write_text
from vovnet.core.records import Sample
from vovnet.model.vovnet import VoVNet, load_weights, save_weights
from vovnet.pipeline.trained_model import WEIGHTS_NAME
from vovnet.training.examples import Example, ImageLoader, LoadedExamples, TrainingSet, stage1_views
from vovnet.training.objective import Objective

logger = logging.getLogger(__name__)

LOG_NAME = "train_log.jsonl"


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of every complete checkpoint, oldest first."""
    found = []
    for path in folder.glob("checkpoint-*"):
        step = path.name.removeprefix("checkpoint-").removesuffix(".pt")
        if step.isdigit():
            found.append((int(step), path))
    return sorted(found)


class Trainer:
    """One stage of one run. `run()` leaves `model.safetensors` and the log in `folder`."""

    def __init__(
        self,
        settings: Settings,
        stage: int,
        folder: Path,
        samples: Sequence[Sample],
        load_images: ImageLoader,
        start_from: Path | None = None,
    ) -> None:
        self.settings, self.stage, self.folder = settings, stage, folder
        training = settings.training
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),  # several processes on the CPU talk over gloo
            mixed_precision=training.mixed_precision,
            gradient_accumulation_steps=training.gradient_accumulation_steps,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
            step_scheduler_with_optimizer=False,
        )
        self.micro_batch = self._micro_batch_size()
        set_seed(training.seed)
        model = VoVNet(settings)
        if start_from is not None:
            load_weights(model, start_from, with_head=False)
        epochs = training.stage1_epochs if stage == 1 else training.stage2_epochs
        self.total_steps = max(1, math.ceil(epochs * len(samples) / training.batch_size))
        self.examples = TrainingSet(
            samples, load_images, model.vlm, settings, stage, self.total_steps * training.batch_size
        )
        optimizer = self._optimizer(model)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._schedule)
        self.model = model
        self.bare_objective = Objective(model, settings, stage)
        self.objective, self.optimizer, self.scheduler = self.accelerator.prepare(
            self.bare_objective, optimizer, scheduler
        )

    def _micro_batch_size(self) -> int:
        training = self.settings.training
        world = self.accelerator.num_processes
        if world != training.num_processes:
            raise ConfigError(
                f"training.num_processes is {training.num_processes}, but {world} processes were"
                " launched"
            )
        pieces = world * training.gradient_accumulation_steps
        if training.batch_size % pieces:
            raise ConfigError(
                f"training.batch_size: {training.batch_size} is not a multiple of num_processes"
                f" times gradient_accumulation_steps, {pieces}"
            )
        return training.batch_size // pieces

    def _optimizer(self, model: VoVNet) -> torch.optim.Optimizer:
        training = self.settings.training
        rate = training.stage1_learning_rate if self.stage == 1 else training.stage2_learning_rate
        vlm = [parameter for parameter in model.vlm.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [{"params": vlm, "lr": rate}]
        if self.stage == 2:
            head = list(model.head.parameters())
            groups.append({"params": head, "lr": training.head_learning_rate})
        else:
            model.head.requires_grad_(False)
        return torch.optim.AdamW(
            groups, betas=training.adam_betas, weight_decay=training.weight_decay, fused=True
        )

    def _schedule(self, step: int) -> float:
        """Warm-up, then the chosen decay to zero; a factor of the learning rate."""
        training = self.settings.training
        warmup = round(training.warmup_ratio * self.total_steps)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if training.schedule == "constant":
            return 1.0
        progress = (step - warmup) / max(1, self.total_steps - warmup)
        if training.schedule == "linear":
            return 1.0 - progress
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    def run(self, on_step: Callable[[int, int], None] | None = None) -> None:
        """Train from the newest checkpoint, or from the start, to the end."""
        training, start = self.settings.training, self._resume()
        self._trim_log(start)
        self.objective.train()
        batches = self._batches(start)
        rank, began = self.accelerator.process_index, time.perf_counter()
        for step in range(start, self.total_steps):
            # What dropout draws follows from the position in the run alone, on CPU and GPUs.
            position = (training.seed, self.stage, step, rank)
            seeds = np.random.SeedSequence(position).generate_state(1, np.uint64)
            torch.manual_seed(int(seeds[0]))
            try:
                sums = self._step(step + 1, batches)
            except torch.OutOfMemoryError:
                raise ConfigError(
                    f"training: out of memory with {self.micro_batch} samples at once on a device;"
                    " raise gradient_accumulation_steps or lower batch_size"
                ) from None
            self._log(step + 1, sums, (step + 1 - start) / (time.perf_counter() - began))
            if on_step is not None:
                on_step(step + 1, self.total_steps)
            if (step + 1) % training.save_every == 0 or step + 1 == self.total_steps:
                self._save(step + 1)
        if self.accelerator.is_main_process:
            save_weights(self.model, self.folder / WEIGHTS_NAME)
        self.accelerator.wait_for_everyone()

    def _step(self, step: int, batches: Iterator[list[Example]]) -> dict[str, float]:
        """One optimizer step over gradient_accumulation_steps micro-batches."""
        totals, max_norm = dict[str, float](), self.settings.training.max_grad_norm
        for _ in range(self.settings.training.gradient_accumulation_steps):
            with self.accelerator.accumulate(self.objective):
                result = self.objective(next(batches))
                self.accelerator.backward(result.loss)
                if self.accelerator.sync_gradients:
                    norm = self.accelerator.clip_grad_norm_(self.objective.parameters(), max_norm)
                    if not torch.isfinite(norm):
                        raise VovnetError(
                            f"{self.folder}: the gradient of step {step} is not finite (loss"
                            f" {result.loss.item():g}); training ends, and what it saved stays"
                        )
                self.optimizer.step()
                self.optimizer.zero_grad()
            for name, value in result.sums.items():
                totals[name] = totals.get(name, 0.0) + value
        self.scheduler.step()
        return totals

    def _batches(self, start: int) -> Iterator[list[Example]]:
        """This process's micro-batches from step `start` on."""
        training, rank = self.settings.training, self.accelerator.process_index
        world, size = self.accelerator.num_processes, self.micro_batch
        batches = []
        for step in range(start, self.total_steps):
            for piece in range(training.gradient_accumulation_steps):
                first = step * training.batch_size + (piece * world + rank) * size
                batches.append(list(range(first, first + size)))
        loader: DataLoader[Example | VovnetError] = DataLoader(
            LoadedExamples(self.examples),
            batch_sampler=batches,
            collate_fn=list,
            num_workers=training.num_workers,
            generator=torch.Generator(),  # dropout's own is left alone
        )
        for items in loader:
            examples = []
            for item in items:
                if isinstance(item, VovnetError):
                    raise item
                examples.append(item)
            yield examples

    @property
    def _objects(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def _resume(self) -> int:
        """Restore the newest checkpoint, if any, without running code from its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoints = list_checkpoints(self.folder)
        if not checkpoints:
            return 0
        step, path = checkpoints[-1]
        try:
            if path.suffix == ".pt":
                state = torch.load(path, map_location="cpu", weights_only=True)
                for name, value in self._objects.items():
                    value.load_state_dict(state[name])
            else:
                self.accelerator.load_state(str(path))
        except Exception as error:  # the libraries raise many kinds on a damaged file
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckpointError(
                f"{path}: cannot resume from it ({first_line}); delete it to resume from the one"
                " before"
            ) from None
        logger.info("resuming at step %d from %s", step, path)
        return step

    def _save(self, step: int) -> None:
        """Save a checkpoint aside, rename it, and drop all but the newest ones.

        It is in accelerate's layout, to which every process adds its own, or one `.pt` file.
        """
        training, main = self.settings.training, self.accelerator.is_main_process
        path = self.folder / f"checkpoint-{step}"
        partial = path.with_name(f".{path.name}.partial")
        if main:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(path, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        if training.checkpoint_format == "pt":
            if main:
                state = {name: value.state_dict() for name, value in self._objects.items()}
                with atomic_path(path.with_suffix(".pt")) as aside:
                    torch.save(state, aside)
        else:
            self.accelerator.save_state(str(partial))
            self.accelerator.wait_for_everyone()
            if main:
                partial.replace(path)
        if main:
            for _, old in list_checkpoints(self.folder)[: -training.keep_checkpoints]:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        self.accelerator.wait_for_everyone()

    def _trim_log(self, start: int) -> None:
        """Drop log lines past the step that training resumes at, and a torn last line."""
        path = self.folder / LOG_NAME
        if not self.accelerator.is_main_process or not path.exists():
            return
        kept = []
        for line in path.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= start:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError):
                continue
        write_text(path, "".join(kept))

    def _log(self, step: int, sums: dict[str, float], steps_per_s: float) -> None:
        """Append the step's means over all processes."""
        # A process lacks the sums of a view where its share of a step shows no example in it.
        views = stage1_views(self.settings) if self.stage == 1 else []
        names = sorted({*sums, *(f"{kind}_{view}" for kind in ("ce", "count") for view in views)})
        local_K = torch.tensor(
            [sums.get(name, 0.0) for name in names], device=self.accelerator.device
        )
        total_K = self.accelerator.reduce(local_K, "sum")
        if not self.accelerator.is_main_process:
            return
        total = dict(zip(names, total_K.tolist(), strict=True))
        batch_size = self.settings.training.batch_size
        line: dict[str, Any] = {"step": step, "stage": self.stage}
        for name, value in total.items():
            if name.startswith("count_"):
                continue
            kind, _, view = name.partition("_")
            count = total.get(f"count_{view}", batch_size) if kind == "ce" else batch_size
            if count:
                line[name] = round(value / count, 6)
        line["learning_rate"] = self.scheduler.get_last_lr()[0]
        line["samples_per_s"] = round(steps_per_s * batch_size, 1)
        with (self.folder / LOG_NAME).open("a") as file:
            file.write(json.dumps(line) + "\n")

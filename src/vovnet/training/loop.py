"""The training loop: the same for one process, several, and a cluster.

Resuming at step s continues with exactly the examples, noise, optimizer and schedule that
an undisturbed run would have had there, so the final weights are the same.
"""

import json
import logging
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import gather_object, set_seed
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader

from vovnet.config import Settings
from vovnet.config.experiments import stage1_shares
from vovnet.core.errors import CheckpointError, ConfigError, VovnetError
from vovnet.core.files import append_text, move, parse_json, read_log, write_text, writing_bytes
from vovnet.core.records import Sample
from vovnet.model.product import matrix_product
from vovnet.model.vovnet import VoVNet, check_finite, load_weights, save_weights
from vovnet.pipeline.trained_model import WEIGHTS_NAME
from vovnet.training import checkpoints as stored
from vovnet.training.checkpoints import gathered, gathered_weights, list_checkpoints, restore
from vovnet.training.examples import Example, ImageLoader, LoadedExamples, TrainingSet, balanced
from vovnet.training.objective import HostCopy, Objective, Step, Work
from vovnet.training.sharding import shard

logger = logging.getLogger(__name__)

LOG_NAME = "train_log.jsonl"

MAX_OVERFLOWS = 20
"""Steps in a row whose gradients may overflow in fp16, while the scale of the loss is lowered."""


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
        if training.deterministic:  # read when cuBLAS starts; without it torch refuses products
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        exchange = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),  # several processes on the CPU talk over gloo
            mixed_precision=training.mixed_precision,
            kwargs_handlers=[exchange],
            step_scheduler_with_optimizer=False,
        )
        self.samples_per_process = self._samples_per_process()
        self.product_tflops = matrix_product() if torch.cuda.is_available() else None
        set_seed(training.seed, deterministic=training.deterministic)
        model = VoVNet(settings)
        if start_from is not None:
            load_weights(model, start_from, with_head=False)
        epochs = training.stage1_epochs if stage == 1 else training.stage2_epochs
        self.total_steps = max(1, math.ceil(epochs * len(samples) / training.batch_size))
        self.examples = TrainingSet(
            samples, load_images, model.vlm, settings, stage, self.total_steps * training.batch_size
        )
        self.model = model
        self.cut = training.fsdp and self.accelerator.num_processes > 1
        self.bare_objective = Objective(model, settings, stage, cut=self.cut)
        self.objective: torch.nn.Module = self.bare_objective
        model.head.requires_grad_(stage == 2)
        # A process whose samples show no image gives the vision tower no gradient.
        exchange.find_unused_parameters = self.bare_objective.tower_passes > 1
        if self.cut:
            shard(self.bare_objective, training.mixed_precision)
        else:
            self.objective = self.accelerator.prepare(self.bare_objective)
        optimizer = self._optimizer(model)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._schedule)
        self.optimizer, self.scheduler = self.accelerator.prepare(optimizer, scheduler)

    def _samples_per_process(self) -> int:
        """Of a step; exactly so many where their work is equal."""
        training = self.settings.training
        world = self.accelerator.num_processes
        if world != training.num_processes:
            raise ConfigError(
                f"training.num_processes is {training.num_processes}, but {world} were launched"
            )
        if training.batch_size < world:
            raise ConfigError(
                f"training.batch_size: expected at least num_processes, {world}, got"
                f" {training.batch_size}"
            )
        return training.batch_size // world

    def _optimizer(self, model: VoVNet) -> torch.optim.Optimizer:
        training = self.settings.training
        rate = training.stage1_learning_rate if self.stage == 1 else training.stage2_learning_rate
        vlm = [parameter for parameter in model.vlm.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [{"params": vlm, "lr": rate}]
        if self.stage == 2:
            head = list(model.head.parameters())
            groups.append({"params": head, "lr": training.head_learning_rate})
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
        self.num_skipped = self._trim_log(start)
        self.objective.train()
        batches = self._batches(start)
        rank, self.began, self.start = self.accelerator.process_index, time.perf_counter(), start
        self.num_overflows, self.asked_for = 0, Work()
        asked: Step | None = None
        for step in range(start, self.total_steps):
            # What dropout draws follows from the position in the run alone, on CPU and GPUs.
            position = (training.seed, self.stage, step, rank)
            seeds = np.random.SeedSequence(position).generate_state(1, np.uint64)
            torch.manual_seed(int(seeds[0]))
            try:
                before, asked = asked, self._step(step + 1, batches)
            except torch.OutOfMemoryError:
                raise ConfigError(
                    f"training: out of memory with {self.at_once} samples at once on a device;"
                    " lower training.micro_batch_tokens, or stage 2's own"
                ) from None
            if before is not None:
                self._finish(before)
            saves = (step + 1) % training.save_every == 0 or step + 1 == self.total_steps
            if saves or self.accelerator.device.type == "cpu":  # where the step is done by now
                self._finish(asked)
                asked = None
            if saves:
                self._save(step + 1)
            if on_step is not None:
                on_step(step + 1, self.total_steps)
        weights = gathered_weights(self.model) if self.cut else None
        if self.accelerator.is_main_process:
            save_weights(self.model, self.folder / WEIGHTS_NAME, weights)
        self.accelerator.wait_for_everyone()

    def _step(self, number: int, batches: Iterator[tuple[list[Example], bool]]) -> Step:
        """Ask for one optimizer step, by the mean over the samples of all processes."""
        training, last = self.settings.training, False
        share = self.accelerator.num_processes / training.batch_size
        sums = dict[str, Tensor]()
        ids: list[str] = []
        losses: list[Tensor] = []
        while not last:
            examples, last = next(batches)
            self.at_once = len(examples)
            # A device that keeps a share of the model has no room for gradients of all of it.
            waits = not last and not self.cut
            with self.accelerator.no_sync(self.objective) if waits else nullcontext():
                with self.accelerator.autocast():
                    result = self.objective(examples)
                self.accelerator.backward(result.loss * share)
            for name, value in result.sums.items():
                sums[name] = sums[name] + value if name in sums else value
            ids += [example.id for example in examples]
            losses.append(result.losses_B)
            self.asked_for += result.work
        names, total_K = self._total(sums)
        norm = self.accelerator.clip_grad_norm_(self.objective.parameters(), training.max_grad_norm)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if self.accelerator.scaler is None:
            # The fused optimizer leaves out, on the device, a step in which `found_inf` is 1.
            finite = torch.isfinite(norm + total_K[names.index("loss")])
            self.optimizer.optimizer.found_inf = 1 - finite.float()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()
        asked = (HostCopy(total_K), HostCopy(norm), ids, HostCopy(torch.cat(losses)))
        return Step(number, names, *asked, self.scheduler.get_last_lr()[0], self.asked_for)

    def _total(self, sums: Mapping[str, Tensor]) -> tuple[list[str], Tensor]:
        """Names and sums over all processes, not read yet."""
        # A process lacks the sums of a view where its share of a step shows no example in it.
        views = [*stage1_shares(self.settings)] if self.stage == 1 else []
        names = sorted({*sums, *(f"{kind}_{view}" for kind in ("ce", "count") for view in views)})
        zero = torch.zeros((), device=self.accelerator.device)
        local_K = torch.stack([sums.get(name, zero).float() for name in names])
        return names, self.accelerator.reduce(local_K, "sum")

    def _finish(self, step: Step) -> None:
        """Log a step. One that is not finite was left out; too many of them end training."""
        total = dict(zip(step.names, step.sums.tolist(), strict=True))
        finite, norm = math.isfinite(total["loss"]), step.norm.tolist()
        self.num_overflows = 0 if math.isfinite(norm) else self.num_overflows + 1
        # In fp16 gradients overflow until their scale is found, but not for ever.
        allowed = 0 if self.accelerator.scaler is None else MAX_OVERFLOWS
        finite = finite and self.num_overflows <= allowed
        self._log(step, total, finite=finite)
        if finite:
            return
        self.num_skipped += 1
        limit = self.settings.training.max_skipped_steps
        wrong = [
            name
            for name, value in zip(step.ids, step.losses_B.tolist(), strict=True)
            if not math.isfinite(value)
        ]
        wrong = gather_object(wrong) or gather_object(step.ids)
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        loss = total["loss"] / self.settings.training.batch_size
        text = (
            f"{self.folder}: step {step.number} is not finite (loss {loss:g}, gradient norm"
            f" {norm:g}, samples {shown})"
        )
        if self.num_skipped > limit:
            raise VovnetError(
                f"{text}; training ends after {self.num_skipped} such steps, what it saved stays"
            )
        if self.accelerator.is_main_process:
            logger.warning("%s; it was left out, %d of at most %d", text, self.num_skipped, limit)

    def _parts(self, step: int) -> list[list[int]]:
        """This process's micro-batches of a step: as many as the others', of equal work."""
        training, world = self.settings.training, self.accelerator.num_processes
        positions = range(step * training.batch_size, (step + 1) * training.batch_size)
        budget = training.tokens_at_once(self.stage)
        if world == 1 and budget is None:
            return [list(positions)]
        work = {position: self.examples.num_tokens(position) for position in positions}
        shares = balanced(work, world, self.examples.leads(positions))
        heaviest = max(sum(work[position] for position in share) for share in shares)
        count = 1 if budget is None else math.ceil(heaviest / budget)
        own = {position: work[position] for position in shares[self.accelerator.process_index]}
        return balanced(own, min(count, *map(len, shares)))

    def _batches(self, start: int) -> Iterator[tuple[list[Example], bool]]:
        """This process's micro-batches from step `start` on, and whether each ends its step."""
        training, counts = self.settings.training, deque[int]()

        def plan() -> Iterator[list[int]]:
            for step in range(start, self.total_steps):
                parts = self._parts(step)
                counts.append(len(parts))
                yield from parts

        loader: DataLoader[Example | Exception] = DataLoader(
            LoadedExamples(self.examples),
            batch_sampler=plan(),
            collate_fn=list,
            num_workers=training.num_workers,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # dropout's own is left alone
        )
        waiting = 0
        for items in loader:
            examples = []
            for item in items:
                if isinstance(item, Exception):
                    raise item
                examples.append(item)
            waiting = (waiting or counts.popleft()) - 1
            yield examples, waiting == 0

    @property
    def _objects(self) -> dict[str, Any]:
        objects = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        scaler = self.accelerator.scaler  # of fp16's gradients
        return objects if scaler is None else {**objects, "scaler": scaler}

    def _resume(self) -> int:
        """Restore the newest checkpoint that is whole, if any, without running code from its file.

        Damaged ones are removed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.accelerator.is_main_process:
            stored.drop_damaged(self.folder)
        self.accelerator.wait_for_everyone()
        checkpoints = list_checkpoints(self.folder)
        if not checkpoints:
            return 0
        step, path = checkpoints[-1]
        try:
            if path.suffix == ".pt":
                state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
                restore(self._objects, state)
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
        state = {name: gathered(value.state_dict()) for name, value in self._objects.items()}
        check_finite(path, state["model"])
        partial = path.with_name(f".{path.name}.partial")
        if main:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(path, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        if training.fsdp or training.checkpoint_format == "pt":
            if main:
                with writing_bytes(path.with_suffix(".pt")) as file:
                    torch.save(state, file)  # to a path it would hide that the disk is full
        else:
            stored.save_state(self.accelerator, partial)
            self.accelerator.wait_for_everyone()
            if main:
                stored.note_hashes(partial)
                move(partial, path)
        if main:
            stored.keep_newest(self.folder, training.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _trim_log(self, start: int) -> int:
        """Drop log lines past the step that training resumes at, and what is no line of a log.

        Returns how many steps before it were left out.
        """
        path = self.folder / LOG_NAME
        kept: list[str] = []
        if not path.exists():
            return 0
        for line in read_log(path).splitlines():
            try:
                if parse_json(line)["step"] <= start:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
        if self.accelerator.is_main_process:
            write_text(path, "".join(kept))
        return sum("left_out" in parse_json(line) for line in kept)

    def _log(self, step: Step, total: Mapping[str, float], *, finite: bool) -> None:
        """Append the step's means over all processes, and how fast the run has been so far.

        Tokens and FLOPs are those of this process, whose work is that of the others. On a GPU `mfu`
        (model FLOPs utilization; Chowdhery et al. 2022, PaLM, appendix B) is their share of what a
        product of matrices was measured to reach as training began.
        """
        if not self.accelerator.is_main_process:
            return
        batch_size = self.settings.training.batch_size
        line: dict[str, Any] = {"step": step.number, "stage": self.stage}
        for name, value in total.items():
            if name.startswith("count_"):
                continue
            kind, _, view = name.partition("_")
            count = total.get(f"count_{view}", batch_size) if kind == "ce" else batch_size
            if count:
                line[name] = round(value / count, 6) if math.isfinite(value) else None
        line["learning_rate"] = step.learning_rate
        elapsed_s = time.perf_counter() - self.began
        line["samples_per_s"] = round((step.number - self.start) * batch_size / elapsed_s, 1)
        line["tokens_per_s_and_device"] = round(step.work.tokens / elapsed_s, 1)
        line["tflops_per_s_and_device"] = round(step.work.flops / elapsed_s / 1e12, 3)
        if self.product_tflops is not None:
            line["mfu"] = round(line["tflops_per_s_and_device"] / self.product_tflops, 4)
        line |= {} if finite else {"left_out": True}
        append_text(self.folder / LOG_NAME, json.dumps(line) + "\n")

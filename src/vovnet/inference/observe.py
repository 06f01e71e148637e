"""Observation: a trained model on every view of a set, once, block by block.

Batches are formed inside a block, so that the number of shards changes nothing; a finished
block is a file of its own, so that a killed job loses at most one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch

from vovnet.config import Settings, run_settings
from vovnet.core.files import sha256_file
from vovnet.core.layout import Layout
from vovnet.core.records import Sample, write_table
from vovnet.data.sets import load_set
from vovnet.inference.engine import Inference, load_images
from vovnet.inference.shards import VIEW_COLUMNS, block_columns, block_path, shard_blocks
from vovnet.model.vovnet import device_name, load_trained, pick_device, weights_file
from vovnet.pipeline.claims import claimed_folder
from vovnet.pipeline.keys import step_key
from vovnet.pipeline.manifest import write_manifest
from vovnet.views import view_budget

OnBlock = Callable[[int, int], None]
Row = dict[str, object]
T = TypeVar("T")


def observe_shard(
    settings: Settings,
    layout: Layout,
    run: str,
    seed: int,
    name: str,
    shard: int,
    num_shards: int,
    on_block: OnBlock | None = None,
    inference: Inference | None = None,
) -> None:
    """Observe one shard (counted from 0) of a set; its manifest is written last.

    `inference` is the trained model where it is loaded already.
    """
    job = _Job(settings, layout, run, seed, name, shard, num_shards)
    folder = layout.shard(run, seed, name, shard, num_shards)
    with claimed_folder(folder, job.key):
        waiting = [block for block in job.blocks if not block_path(folder, block[0]).exists()]
        if waiting:
            inference = inference or job.inference()
            before = inference.halved_batches
            for done, (index, rows) in enumerate(waiting, start=1):
                table = observe_rows(inference, layout, [job.samples[row] for row in rows])
                write_table(block_path(folder, index), table, block_columns(job.settings.actions))
                if on_block is not None:
                    on_block(done, len(waiting))
            job.halved_batches = inference.halved_batches - before
        job.write_manifest(folder)


def observe_views_shard(
    settings: Settings,
    layout: Layout,
    run: str,
    seed: int,
    name: str,
    views: Sequence[str],
    shard: int,
    num_shards: int,
    on_block: OnBlock | None = None,
    inference: Inference | None = None,
) -> None:
    """Observe reduced views on one shard of a set; its manifest is written last.

    A view that was observed before is kept when others are asked for beside it. `inference` is
    the trained model where it is loaded already.
    """
    job = _Job(settings, layout, run, seed, name, shard, num_shards)
    folder = layout.view_shard(run, seed, name, shard, num_shards)
    with claimed_folder(folder, job.key):
        missing = [
            (index, rows, [view for view in views if not block_path(folder, index, view).exists()])
            for index, rows in job.blocks
        ]
        waiting = [block for block in missing if block[2]]
        if waiting:
            inference = inference or job.inference()
            before = inference.halved_batches
            for done, (index, rows, new) in enumerate(waiting, start=1):
                tables = observe_views(inference, layout, [job.samples[row] for row in rows], new)
                for view, table in tables.items():
                    write_table(block_path(folder, index, view), table, VIEW_COLUMNS)
                if on_block is not None:
                    on_block(done, len(waiting))
            job.halved_batches = inference.halved_batches - before
        job.write_manifest(folder, views=list(views))


class _Job:
    """One shard of a set, and what it is observed with."""

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        run: str,
        seed: int,
        name: str,
        shard: int,
        num_shards: int,
    ) -> None:
        self.settings = run_settings(settings, run, seed)
        self.samples = load_set(self.settings, layout, name)
        self.checkpoint = layout.stage(run, seed, 2)
        self.key = {
            **step_key(settings, "observe", run=run, seed=seed, eval_set=name),
            "block_rows": str(self.settings.eval.shard_rows),
            "checkpoint": sha256_file(weights_file(self.checkpoint)),
            "samples": self.samples.content_key(),
        }
        self.blocks = shard_blocks(
            len(self.samples), self.settings.eval.shard_rows, shard, num_shards
        )
        self.halved_batches = 0
        self.facts: dict[str, Any] = {
            "run": run,
            "seed": seed,
            "set": name,
            "shard": shard,
            "num_shards": num_shards,
        }

    def inference(self) -> Inference:
        model = load_trained(self.settings, self.checkpoint, pick_device())
        return Inference(model, self.settings)

    def write_manifest(self, folder: Path, **facts: Any) -> None:
        """Batches that were halved are told: in 16 bits, results depend on a batch's size."""
        if self.halved_batches:
            facts["halved_batches_of_last_call"] = self.halved_batches
        write_manifest(
            folder / "manifest.json",
            step="observe",
            settings=self.settings,
            inputs={"checkpoint": weights_file(self.checkpoint)},
            **self.facts,
            blocks=[index for index, _ in self.blocks],
            key=self.key,
            device=device_name(),
            **facts,
        )


def observe_rows(inference: Inference, layout: Layout, samples: Sequence[Sample]) -> pd.DataFrame:
    """Signals and every view of `samples`, in their order; columns are `block_columns`."""
    return pd.DataFrame(
        observe_samples(inference, layout, samples),
        columns=list(block_columns(inference.settings.actions)),
    )


def observe_samples(inference: Inference, layout: Layout, samples: Sequence[Sample]) -> list[Row]:
    """The rows of `observe_rows`, and the tokens that were generated (`<view>.token_ids`)."""
    return _in_batches(inference, samples, lambda batch: _observe_batch(inference, layout, batch))


def observe_views(
    inference: Inference, layout: Layout, samples: Sequence[Sample], views: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Reduced views of `samples`, in their order; columns are `VIEW_COLUMNS`."""
    rows = _in_batches(
        inference, samples, lambda batch: _observe_reduced(inference, layout, batch, views)
    )
    return {
        view: pd.DataFrame([row[view] for row in rows], columns=list(VIEW_COLUMNS))
        for view in views
    }


def batches(inference: Inference, samples: Sequence[Sample]) -> list[list[int]]:
    """Indices of `samples` in batches of questions of like length."""
    lengths = [len(prompt.text_ids) for prompt in inference.prompts(samples)]
    order = sorted(range(len(samples)), key=lambda row: (lengths[row], row))
    size = inference.settings.eval.batch_size
    return [order[start : start + size] for start in range(0, len(order), size)]


def _in_batches(
    inference: Inference,
    samples: Sequence[Sample],
    observe: Callable[[Sequence[Sample]], Iterable[T]],
) -> list[T]:
    """What `observe` yields of each sample, batch by batch."""

    def on_half() -> None:
        inference.halved_batches += 1

    rows: dict[int, T] = {}
    for chosen in batches(inference, samples):
        observed = _as_fits([samples[row] for row in chosen], observe, on_half)
        rows.update(zip(chosen, observed, strict=True))
    return [rows[row] for row in range(len(samples))]


def _as_fits(
    batch: Sequence[Sample],
    observe: Callable[[Sequence[Sample]], Iterable[T]],
    on_half: Callable[[], None],
) -> list[T]:
    """What `observe` yields of a batch, in halves where the device's memory is too small for it.

    `on_half` is called for each batch that is halved.
    """
    try:
        return list(observe(batch))
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    # Outside the handler, whose traceback still holds the tensors of the failed batch.
    torch.cuda.empty_cache()
    half = len(batch) // 2
    print(f"out of memory with {len(batch)} questions at once: {half} now", file=sys.stderr)
    on_half()
    return _as_fits(batch[:half], observe, on_half) + _as_fits(batch[half:], observe, on_half)


def _observe_batch(
    inference: Inference, layout: Layout, samples: Sequence[Sample]
) -> Iterator[Row]:
    text_pass = inference.text_pass(samples)
    rows: list[Row] = [dict(signals) for signals in text_pass.signals]
    images = [load_images(inference.settings, layout, sample) for sample in samples]
    for view in inference.settings.actions:
        began = time.perf_counter()
        answers = inference.answer(samples, view, images, text_pass)
        latency_ms = (time.perf_counter() - began) * 1000 / len(samples)
        for row, answer in zip(rows, answers, strict=True):
            row |= {f"{view}.{name}": value for name, value in vars(answer).items()}
            row[f"{view}.latency_ms"] = latency_ms
    yield from rows


def _observe_reduced(
    inference: Inference, layout: Layout, samples: Sequence[Sample], views: Sequence[str]
) -> Iterator[dict[str, Row]]:
    """Per sample a row of each view. Images are encoded once for all views of a budget.

    The latency of each view counts the encoding, which it would need alone.
    """
    text_pass = inference.text_pass(samples) if inference.settings.eval.cache_reuse else None
    images = [load_images(inference.settings, layout, sample) for sample in samples]
    rows: list[dict[str, Row]] = [{} for _ in samples]
    budgets = {view: view_budget(view, inference.settings.vision_budget) for view in views}
    for budget in dict.fromkeys(budgets.values()):
        began = time.perf_counter()
        encoded = inference.encode(images, budget)
        encoding_s = time.perf_counter() - began
        for view in (view for view in views if budgets[view] == budget):
            began = time.perf_counter()
            answers = inference.answer(samples, view, images, text_pass, encoded)
            latency_ms = (time.perf_counter() - began + encoding_s) * 1000 / len(samples)
            for row, sample, answer in zip(rows, samples, answers, strict=True):
                row[view] = {"id": sample.id, **vars(answer), "latency_ms": latency_ms}
    yield from rows

"""Observation: a trained model on the views of a set, once each, block by block.

Batches are formed inside a block, so that the number of shards changes nothing; the tables of a
finished block are files, so that a killed job loses at most one block.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray

from vovnet.config import Settings
from vovnet.core.cost import ViewBudget
from vovnet.core.errors import DataError
from vovnet.core.layout import Layout
from vovnet.core.records import Sample, signal_columns, write_states, write_table
from vovnet.data.samples import SampleSet
from vovnet.data.sets import load_set
from vovnet.inference.engine import Answer, Inference, Signals
from vovnet.inference.images import Loaded, images_ahead
from vovnet.inference.shards import (
    SIGNALS,
    STATES,
    VIEW_COLUMNS,
    block_path,
    claimed_tables,
    shard_blocks,
    whole_block,
)
from vovnet.model.loading import weights_digest
from vovnet.model.packed import slots
from vovnet.model.vovnet import device_name, load_trained, pick_device
from vovnet.pipeline.manifest import write_manifest
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.views import parse_view, view_budget

OnBlock = Callable[[int, int], None]
S = TypeVar("S")
T = TypeVar("T")


def observe_shard(
    trained: TrainedModel,
    name: str,
    shard: int,
    num_shards: int,
    views: Sequence[str] = (),
    on_block: OnBlock | None = None,
    inference: Inference | None = None,
) -> None:
    """Observe one shard (counted from 0) of a set; its manifest is written last.

    Without further `views` it observes the signals and states of the text pass, and the actions.
    A table that is there already from the same inputs is kept. `inference` is the trained model
    where it is loaded already.
    """
    group = "views" if views else "actions"
    tables = list(views) if views else [SIGNALS, STATES, *trained.settings.actions]
    samples = load_set(trained.settings, trained.layout, name)
    keys = _keys(trained, name, samples, tables)
    folder = trained.shard(name, group, shard, num_shards)
    blocks = shard_blocks(len(samples), trained.settings.eval.shard_rows, shard, num_shards)
    with claimed_tables(folder, keys):
        facts: dict[str, Any] = trained.facts
        missing = {
            index: [item for item in tables if not whole_block(folder, index, item)]
            for index, _ in blocks
        }
        if any(missing.values()):
            if inference is None:
                model = load_trained(
                    trained.settings,
                    trained.checkpoint,
                    pick_device(),
                    with_head=trained.has_head,
                )
                inference = Inference(model, trained.settings)
            before = inference.halved_batches
            waiting = {
                index: Block([samples[row] for row in rows], missing[index])
                for index, rows in blocks
                if missing[index]
            }
            observations = observe_blocks(inference, trained.layout, list(waiting.values()))
            for done, (index, observed) in enumerate(zip(waiting, observations, strict=True), 1):
                for table in missing[index]:
                    observed.write(table, block_path(folder, index, table))
                if on_block is not None:
                    on_block(done, len(waiting))
            if (limit := inference.batch_tokens()) is not None:
                facts["batch_tokens"] = limit
            if halved := inference.halved_batches - before:
                # In 16 bits results depend on the size of a batch.
                facts["halved_batches_of_last_call"] = halved
        write_manifest(
            folder / "manifest.json",
            step="observe",
            settings=trained.settings,
            inputs={} if trained.is_base else {"checkpoint": trained.weights},
            set=name,
            shard=shard,
            num_shards=num_shards,
            blocks=list(missing),
            key=keys[tables[0]],
            keys=keys,
            device=device_name(),
            **facts,
        )


def _keys(
    trained: TrainedModel, name: str, samples: SampleSet, tables: Sequence[str]
) -> dict[str, dict[str, str]]:
    """The hashes of what each table is made from; the code of a view is its reductions' also."""
    shared = {
        "block_rows": str(trained.settings.eval.shard_rows),
        "checkpoint": weights_digest(trained),
        "samples": samples.content_key(),
    }
    shown = {table: [] if table in (SIGNALS, STATES) else [table] for table in tables}
    return {table: trained.key("observe", shown[table], eval_set=name) | shared for table in tables}


@dataclass
class SampleObservation:
    """What a model yields of one sample: of the text pass where it was asked for, and per view."""

    signals: Signals | None = None
    state: NDArray[np.float16] | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What a model yields of some samples, in their order."""

    samples: Sequence[Sample]
    rows: list[SampleObservation]
    actions: Sequence[str]

    @property
    def signals(self) -> pd.DataFrame:
        """Columns are `records.signal_columns`."""
        columns = list(signal_columns(self.actions))
        return pd.DataFrame([row.signals for row in self.rows], columns=columns)

    def view(self, name: str) -> pd.DataFrame:
        """Columns are `shards.VIEW_COLUMNS`."""
        rows = [
            {"id": sample.id, **row.answers[name].columns, "latency_ms": row.latency_ms[name]}
            for sample, row in zip(self.samples, self.rows, strict=True)
        ]
        return pd.DataFrame(rows, columns=list(VIEW_COLUMNS))

    def write(self, table: str, path: Path) -> None:
        """Write a table as a block; a number in it that is not finite is an error.

        Scores that a base model does not tell are left empty.
        """
        if table == STATES:
            states_NF = np.stack([row.state for row in self.rows if row.state is not None])
            self._check_finite(table, "a state", np.isfinite(states_NF.sum(axis=1, dtype=float)))
            ids = [sample.id for sample in self.samples]
            write_states(path, ids, states_NF, checksums=True)
            return
        rows = self.signals if table == SIGNALS else self.view(table)
        columns = signal_columns(self.actions) if table == SIGNALS else VIEW_COLUMNS
        for column, kind in columns.items():
            told = table != SIGNALS or column in (self.rows[0].signals or ())
            if kind == pa.float64() and told:
                self._check_finite(table, column, np.isfinite(rows[column].to_numpy()))
        write_table(path, rows, columns, checksums=True)

    def _check_finite(self, table: str, what: str, finite_N: NDArray[np.bool_]) -> None:
        if not finite_N.all():
            sample = self.samples[int(finite_N.argmin())]
            raise DataError(f"sample {sample.id!r}, {table}: {what} is not a finite number")


@dataclass(frozen=True)
class Block:
    """Samples, and the tables that are wanted of them."""

    samples: Sequence[Sample]
    tables: Sequence[str]

    @property
    def views(self) -> list[str]:
        return [table for table in self.tables if table not in (SIGNALS, STATES)]

    @property
    def reads(self) -> bool:
        """Whether the signals and states of the text pass are wanted."""
        return len(self.views) < len(self.tables)


def observe_samples(
    inference: Inference,
    layout: Layout,
    samples: Sequence[Sample],
    views: Sequence[str],
    read: bool = True,
) -> Observation:
    """Observe `views` of samples, and the signals and states of their text pass if `read`."""
    tables = [SIGNALS, STATES, *views] if read else views
    (observed,) = observe_blocks(inference, layout, [Block(samples, tables)])
    return observed


def observe_blocks(
    inference: Inference, layout: Layout, blocks: Sequence[Block]
) -> Iterator[Observation]:
    """Observe one block after the other, while worker processes load the images of the next.

    A view's budget is that of its images, which are encoded once for the views that share it: once
    more with the tower's attention, for the views that read it.
    """
    settings = inference.settings
    plans = [batches(inference, block.samples, block.views) for block in blocks]
    wanted = [
        (block.samples[row], _budgets(settings, block.views))
        for block, plan in zip(blocks, plans, strict=True)
        for chosen in plan
        for row in chosen
    ]
    images = images_ahead(settings, layout, inference.vlm, wanted)

    def on_half() -> None:
        inference.halved_batches += 1

    for block, plan in zip(blocks, plans, strict=True):
        rows: dict[int, SampleObservation] = {}
        for chosen in plan:
            batch = [(block.samples[row], next(images)) for row in chosen]
            observed = _as_fits(batch, partial(_observe_batch, inference, block), on_half)
            rows.update(zip(chosen, observed, strict=True))
        yield Observation(block.samples, [rows[row] for row in sorted(rows)], settings.actions)


def _observe_batch(
    inference: Inference, block: Block, batch: Sequence[tuple[Sample, Loaded]]
) -> list[SampleObservation]:
    """One text pass for all views, where they or the signals need one; images once per encoding.

    The latency of a view counts the preparing and encoding of its images, which it needs alone.
    """
    settings = inference.settings
    samples, loaded = [sample for sample, _ in batch], [images for _, images in batch]
    text_pass = None
    if block.reads or settings.eval.cache_reuse:
        text_pass = inference.text_pass(samples)
    rows = [SampleObservation() for _ in batch]
    if text_pass is not None and block.reads:
        pairs = zip(rows, text_pass.signals, text_pass.states, strict=True)
        for row, signals, state_F in pairs:
            row.signals, row.state = signals, state_F
    encodings = {
        view: (view_budget(view, settings.vision_budget), parse_view(view).needs_attention)
        for view in block.views
    }
    for budget, attention in dict.fromkeys(encodings.values()):
        began = time.perf_counter()
        encoded = None
        if settings.eval.num_beams == 1:
            pixels = [item.pixels.get(budget) for item in loaded]
            encoded = inference.encode_pixels(pixels, attention=attention)
        encoding_s = time.perf_counter() - began
        encoding_s += sum(item.seconds.get(budget, 0.0) for item in loaded)
        for view in (view for view in block.views if encodings[view] == (budget, attention)):
            began = time.perf_counter()
            images = [item.images for item in loaded]
            answers = inference.answer(samples, view, images, text_pass, encoded)
            latency_ms = (time.perf_counter() - began + encoding_s) * 1000 / len(batch)
            for row, answer in zip(rows, answers, strict=True):
                row.answers[view], row.latency_ms[view] = answer, latency_ms
    return rows


def batches(
    inference: Inference, samples: Sequence[Sample], views: Sequence[str]
) -> list[list[int]]:
    """Indices of `samples` in batches of questions of like length, as many as fit at once."""
    lengths = [len(prompt.text_ids) for prompt in inference.prompts(samples)]
    order = sorted(range(len(samples)), key=lengths.__getitem__)
    size, limit = inference.settings.eval.batch_size, inference.batch_tokens()
    if limit is None:
        return [order[start : start + size] for start in range(0, len(order), size)]
    found: list[list[int]] = []
    longest = 0
    for row in order:
        shown = max((inference.view_tokens(samples[row], view) for view in views), default=0)
        tokens = slots(lengths[row] + shown + inference.settings.eval.max_new_tokens)
        # Every question of a batch takes the room of the longest one.
        longest = max(longest, tokens)
        if not found or len(found[-1]) == size or (len(found[-1]) + 1) * longest > limit:
            found.append([])
            longest = tokens
        found[-1].append(row)
    return found


def _budgets(settings: Settings, views: Sequence[str]) -> list[ViewBudget]:
    found = dict.fromkeys(view_budget(view, settings.vision_budget) for view in views)
    return [budget for budget in found if budget is not None]


def _as_fits(
    batch: Sequence[T], observe: Callable[[Sequence[T]], list[S]], on_half: Callable[[], None]
) -> list[S]:
    """What `observe` makes of a batch, in halves where the device's memory is too small for it.

    `on_half` is called for each batch that is halved.
    """
    try:
        return observe(batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    # Outside the handler, whose traceback still holds the tensors of the failed batch.
    gc.collect()
    torch.cuda.empty_cache()
    half = len(batch) // 2
    print(f"out of memory with {len(batch)} questions at once: {half} now", file=sys.stderr)
    on_half()
    return _as_fits(batch[:half], observe, on_half) + _as_fits(batch[half:], observe, on_half)

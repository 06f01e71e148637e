"""Observation: a trained model on every view of a set, once, block by block (vovnet.blocks).

Batches are formed inside a block, so that the number of shards changes nothing; a finished
block is a file of its own, so that a killed job loses at most one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pandas as pd
import torch

from vovnet.blocks import BLOCK_COLUMNS, block_path, shard_blocks
from vovnet.closure import closure_digest
from vovnet.config import Settings, run_settings
from vovnet.data.sets import load_set
from vovnet.files import sha256_file, sha256_json
from vovnet.inference import Inference, load_images
from vovnet.layout import Layout
from vovnet.model import load_trained, pick_device, weights_file
from vovnet.provenance import claim_folder, write_manifest
from vovnet.records import ACTIONS, Sample, write_table
from vovnet.steps import step_digest

OnBlock = Callable[[int, int], None]


def observe_shard(
    settings: Settings,
    layout: Layout,
    run: str,
    seed: int,
    name: str,
    shard: int,
    num_shards: int,
    on_block: OnBlock | None = None,
) -> None:
    """Observe one shard (counted from 0) of a set; its manifest is written last."""
    own_settings = run_settings(settings, run, seed)
    samples = load_set(own_settings, layout, name)
    digest = step_digest(settings, "observe", run=run, seed=seed, eval_set=name)
    settings = own_settings
    folder = layout.shard(run, seed, name, shard, num_shards)
    checkpoint = layout.stage(run, seed, 2)
    key = {
        "config": digest,
        "block_rows": str(settings.eval.shard_rows),
        "checkpoint": sha256_file(weights_file(checkpoint)),
        "samples": sha256_json([sample.model_dump(mode="json") for sample in samples]),
        "code": closure_digest(__name__),
    }
    claim_folder(folder, key)
    blocks = shard_blocks(len(samples), settings.eval.shard_rows, shard, num_shards)
    waiting = [block for block in blocks if not block_path(folder, block[0]).exists()]
    if waiting:
        inference = Inference(load_trained(settings, checkpoint, pick_device()), settings)
        for done, (index, rows) in enumerate(waiting, start=1):
            table = observe_rows(inference, layout, [samples[row] for row in rows])
            write_table(block_path(folder, index), table, BLOCK_COLUMNS)
            if on_block is not None:
                on_block(done, len(waiting))
    write_manifest(
        folder / "manifest.json",
        step="observe",
        settings=settings,
        inputs={"checkpoint": weights_file(checkpoint)},
        run=run,
        seed=seed,
        set=name,
        shard=shard,
        num_shards=num_shards,
        blocks=[index for index, _ in blocks],
        key=key,
        device=_device_name(),
    )


def observe_rows(inference: Inference, layout: Layout, samples: Sequence[Sample]) -> pd.DataFrame:
    """Signals and every view of `samples`, in their order; columns are `BLOCK_COLUMNS`."""
    lengths = [len(prompt.text_ids) for prompt in inference.prompts(samples)]
    order = sorted(range(len(samples)), key=lambda row: (lengths[row], row))
    size = inference.settings.eval.batch_size
    rows: dict[int, dict[str, object]] = {}
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        observed = _observe_batch(inference, layout, [samples[row] for row in chosen])
        rows.update(zip(chosen, observed, strict=True))
    return pd.DataFrame([rows[row] for row in range(len(samples))], columns=list(BLOCK_COLUMNS))


def _observe_batch(
    inference: Inference, layout: Layout, samples: Sequence[Sample]
) -> Iterator[dict[str, object]]:
    text_pass = inference.text_pass(samples)
    rows: list[dict[str, object]] = [dict(signals) for signals in text_pass.signals]
    images = [load_images(inference.settings, layout, sample) for sample in samples]
    for view in ACTIONS:
        began = time.perf_counter()
        answers = inference.answer(samples, view, images, text_pass)
        latency_ms = (time.perf_counter() - began) * 1000 / len(samples)
        for row, answer in zip(rows, answers, strict=True):
            row |= {f"{view}.{name}": value for name, value in vars(answer).items()}
            row[f"{view}.latency_ms"] = latency_ms
    yield from rows


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"

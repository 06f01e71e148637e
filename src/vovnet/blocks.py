"""How an observation is cut: blocks of rows, shards of blocks, and their joining.

A set is cut into blocks of `eval.shard_rows` rows; shard i of n holds every n-th block.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from vovnet.config import Settings, run_settings
from vovnet.data.sets import load_set
from vovnet.errors import ConfigError, DataError
from vovnet.files import read_json
from vovnet.layout import Layout
from vovnet.provenance import write_manifest
from vovnet.records import (
    ACTIONS,
    OBSERVATION_COLUMNS,
    SIGNAL_COLUMNS,
    TIMING_COLUMNS,
    read_table,
    write_table,
)

_VIEW_COLUMNS = {**OBSERVATION_COLUMNS, **TIMING_COLUMNS}

BLOCK_COLUMNS: dict[str, pa.DataType] = SIGNAL_COLUMNS | {
    f"{view}.{name}": kind
    for view in ACTIONS
    for name, kind in _VIEW_COLUMNS.items()
    if name != "id"
}
"""A block holds everything about its rows: signals, and `<view>.<column>` for each view."""


def block_path(folder: Path, index: int) -> Path:
    return folder / f"block-{index:06d}.parquet"


def shard_blocks(
    num_rows: int, block_rows: int, shard: int, num_shards: int
) -> list[tuple[int, range]]:
    """(index, rows) of the blocks of a shard: every `num_shards`-th block of the set."""
    if not 0 <= shard < num_shards:
        raise ConfigError(
            f"shard {shard}/{num_shards}: expected a number from 0 to {num_shards - 1}"
        )
    starts = range(0, num_rows, block_rows)
    blocks = [
        (index, range(start, min(start + block_rows, num_rows)))
        for index, start in enumerate(starts)
    ]
    return blocks[shard::num_shards]


def gather(settings: Settings, layout: Layout, run: str, seed: int, name: str) -> None:
    """Join the shards of an observation into its tables; the manifest is written last."""
    settings = run_settings(settings, run, seed)
    samples = load_set(settings, layout, name)
    num_shards = settings.eval.num_shards
    folders = [layout.shard(run, seed, name, shard, num_shards) for shard in range(num_shards)]
    manifests = [read_json(folder / "manifest.json") for folder in folders]
    keys = [manifest["key"] for manifest in manifests]
    for folder, key in zip(folders, keys, strict=True):
        if key != keys[0]:
            raise DataError(
                f"{folder}: observed from other inputs than {folders[0]}, observe it again"
            )
    paths = {
        index: block_path(folder, index)
        for folder, manifest in zip(folders, manifests, strict=True)
        for index in manifest["blocks"]
    }
    table = pd.concat(
        [read_table(paths[index], BLOCK_COLUMNS) for index in sorted(paths)], ignore_index=True
    )
    if table["id"].tolist() != [sample.id for sample in samples]:
        raise DataError(f"{folders[0].parent}: the observed rows are not those of set {name!r}")
    target = layout.observations(run, seed, name)
    outputs = {"signals": target / "signals.parquet"}
    write_table(outputs["signals"], table, SIGNAL_COLUMNS)
    for view in ACTIONS:
        columns = {f"{view}.{column}": column for column in _VIEW_COLUMNS if column != "id"}
        rows = table[["id", *columns]].rename(columns=columns)
        outputs[view] = target / f"{view}.parquet"
        write_table(outputs[view], rows, OBSERVATION_COLUMNS)
        write_table(target / f"{view}.timings.parquet", rows, TIMING_COLUMNS)
    write_manifest(
        target / "manifest.json",
        step="observe",
        settings=settings,
        inputs={f"shard{shard}": folder / "manifest.json" for shard, folder in enumerate(folders)},
        outputs=outputs,
        run=run,
        seed=seed,
        set=name,
        num_samples=len(table),
        key=keys[0],
        device=manifests[0]["device"],
    )

"""How an observation is cut: blocks of rows, shards of blocks, and their joining.

A set is cut into blocks of `eval.shard_rows` rows; shard i of n holds every n-th block.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from vovnet.config import Settings, run_settings
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.core.records import (
    OBSERVATION_COLUMNS,
    TIMING_COLUMNS,
    Sample,
    read_table,
    signal_columns,
    write_table,
)
from vovnet.data.sets import load_set
from vovnet.pipeline.manifest import write_manifest

VIEW_COLUMNS: dict[str, pa.DataType] = {**OBSERVATION_COLUMNS, **TIMING_COLUMNS}
"""A block of a reduced view: its observation and timings."""


def block_columns(actions: Sequence[str]) -> dict[str, pa.DataType]:
    """A block holds everything about its rows: signals, and `<view>.<column>` for each view."""
    return signal_columns(actions) | {
        f"{view}.{name}": kind
        for view in actions
        for name, kind in VIEW_COLUMNS.items()
        if name != "id"
    }


def block_path(folder: Path, index: int, view: str = "") -> Path:
    """A block of the actions, or of a reduced `view`, which has files of its own."""
    return folder / f"block-{index:06d}{'.' + view if view else ''}.parquet"


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
    manifests = _manifests(folders)
    table = _joined(folders, manifests, block_columns(settings.actions))
    _check_rows(samples, name, folders, table)
    target = layout.observations(run, seed, name)
    outputs = {"signals": target / "signals.parquet"}
    write_table(outputs["signals"], table, signal_columns(settings.actions))
    for view in settings.actions:
        columns = {f"{view}.{column}": column for column in VIEW_COLUMNS if column != "id"}
        rows = table[["id", *columns]].rename(columns=columns)
        outputs[view] = _write_view(target, view, rows)
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
        key=manifests[0]["key"],
        device=manifests[0]["device"],
    )


def gather_views(
    settings: Settings, layout: Layout, run: str, seed: int, name: str, views: Sequence[str]
) -> None:
    """Join the shards of reduced views into a table each; the manifest is written last."""
    settings = run_settings(settings, run, seed)
    samples = load_set(settings, layout, name)
    num_shards = settings.eval.num_shards
    folders = [layout.view_shard(run, seed, name, shard, num_shards) for shard in range(num_shards)]
    manifests = _manifests(folders)
    target = layout.observations(run, seed, name)
    outputs = {}
    for view in views:
        table = _joined(folders, manifests, VIEW_COLUMNS, view)
        _check_rows(samples, name, folders, table)
        outputs[view] = _write_view(target, view, table)
    write_manifest(
        layout.views_manifest(run, seed, name),
        step="observe",
        settings=settings,
        inputs={f"shard{shard}": folder / "manifest.json" for shard, folder in enumerate(folders)},
        outputs=outputs,
        run=run,
        seed=seed,
        set=name,
        key=manifests[0]["key"],
        device=manifests[0]["device"],
    )


def _manifests(folders: Sequence[Path]) -> list[Any]:
    """The manifests of all shards; shards that were made from other inputs are an error."""
    manifests = [read_json(folder / "manifest.json") for folder in folders]
    for folder, manifest in zip(folders, manifests, strict=True):
        if manifest["key"] != manifests[0]["key"]:
            raise DataError(
                f"{folder}: observed from other inputs than {folders[0]}, observe it again"
            )
    return manifests


def _joined(
    folders: Sequence[Path],
    manifests: Sequence[Any],
    columns: dict[str, pa.DataType],
    view: str = "",
) -> pd.DataFrame:
    """The blocks of all shards in the order of the set."""
    paths = {
        index: block_path(folder, index, view)
        for folder, manifest in zip(folders, manifests, strict=True)
        for index in manifest["blocks"]
    }
    tables = [read_table(paths[index], columns) for index in sorted(paths)]
    return pd.concat(tables, ignore_index=True)


def _check_rows(
    samples: Sequence[Sample], name: str, folders: Sequence[Path], table: pd.DataFrame
) -> None:
    if table["id"].tolist() != [sample.id for sample in samples]:
        raise DataError(f"{folders[0].parent}: the observed rows are not those of set {name!r}")


def _write_view(target: Path, view: str, rows: pd.DataFrame) -> Path:
    """Write a view's observation and, apart, its timings; returns the former's path."""
    path = target / f"{view}.parquet"
    write_table(path, rows, OBSERVATION_COLUMNS)
    write_table(target / f"{view}.timings.parquet", rows, TIMING_COLUMNS)
    return path

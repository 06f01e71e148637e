"""How an observation is stored: tables of a group, cut into blocks and shards, and joined.

A trained model is observed on a set in two groups of tables, so that a further view leaves the
actions as they are: `actions` holds the signals and states of the text pass and a table for the
view of each action, `views` a table for each further view. A set is cut into blocks of
`eval.shard_rows` rows, each a file per table; shard i of n holds every n-th block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from filelock import FileLock

from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json, sha256_json, write_json
from vovnet.core.records import (
    OBSERVATION_COLUMNS,
    TIMING_COLUMNS,
    read_states,
    read_table,
    signal_columns,
    write_states,
    write_table,
)
from vovnet.data.sets import load_set
from vovnet.pipeline.manifest import write_manifest
from vovnet.pipeline.trained_model import TrainedModel

Group = Literal["actions", "views"]

SIGNALS, STATES = "signals", "states"
"""Tables of the text pass; every other table is named by its view."""

VIEW_COLUMNS: dict[str, pa.DataType] = {**OBSERVATION_COLUMNS, **TIMING_COLUMNS}
"""A block of a view: its observation and timings."""


def block_path(folder: Path, index: int, table: str) -> Path:
    return folder / f"block-{index:06d}.{table}.parquet"


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


@contextmanager
def claimed_tables(folder: Path, keys: Mapping[str, Any]) -> Iterator[None]:
    """Hold a shard's folder, and have in it of the wanted tables what is made from their inputs.

    `keys` holds the hashes of the inputs of each wanted table. Blocks of other inputs are set aside
    in the shard's folder, and taken up again when those inputs come back. Another process at work
    there is waited for, on whatever machine it runs: a killed Snakemake leaves its jobs, and the
    next call starts the same ones again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "keys.json"
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        known = read_json(path) if path.exists() else {}
        for table, key in keys.items():
            if known.get(table) != key:
                _move_blocks(folder, _aside(folder, table, known.get(table)), table)
                _move_blocks(_aside(folder, table, key), folder, table)
        write_json(path, known | dict(keys))
        yield


def _aside(folder: Path, table: str, key: Any) -> Path:
    """Where the blocks of a table are set aside that were made from the inputs of a key."""
    return folder / "aside" / f"{table}-{sha256_json(key)[:8]}"


def _move_blocks(source: Path, target: Path, table: str) -> None:
    for block in source.glob(f"block-*.{table}.parquet"):
        target.mkdir(parents=True, exist_ok=True)
        block.replace(target / block.name)


def gather(trained: TrainedModel, name: str, views: Sequence[str] = ()) -> None:
    """Join the shards of an observation into its tables; the manifest is written last.

    Without further `views` it joins the tables of the actions.
    """
    settings = trained.settings
    group: Group = "views" if views else "actions"
    num_shards = settings.eval.num_shards
    shards = _Shards(
        [trained.shard(name, group, shard, num_shards) for shard in range(num_shards)],
        [sample.id for sample in load_set(settings, trained.layout, name)],
        name,
    )
    target = trained.observations(name)
    outputs = {}
    if not views:
        outputs = {table: target / f"{table}.parquet" for table in (SIGNALS, STATES)}
        signals = signal_columns(settings.actions)
        write_table(outputs[SIGNALS], shards.table(SIGNALS, signals), signals)
        write_states(outputs[STATES], *shards.states())
    for view in views or settings.actions:
        outputs[view] = target / f"{view}.parquet"
        rows = shards.table(view, VIEW_COLUMNS)
        write_table(outputs[view], rows, OBSERVATION_COLUMNS)
        write_table(target / f"{view}.timings.parquet", rows, TIMING_COLUMNS)
    write_manifest(
        trained.observation_manifest(name, group),
        step="observe",
        settings=settings,
        inputs=shards.manifest_files,
        outputs=outputs,
        **trained.facts,
        set=name,
        num_samples=len(shards.ids),
        key=shards.manifests[0]["key"],
        device=shards.manifests[0]["device"],
    )


class _Shards:
    """All shards of a group: their blocks in the order of the set, whose ids are `ids`."""

    def __init__(self, folders: Sequence[Path], ids: list[str], name: str) -> None:
        self.folders, self.ids, self.name = folders, ids, name
        self.manifest_files = {
            f"shard{shard}": folder / "manifest.json" for shard, folder in enumerate(folders)
        }
        self.manifests = [read_json(path) for path in self.manifest_files.values()]
        for folder, manifest in zip(folders, self.manifests, strict=True):
            if manifest["keys"] != self.manifests[0]["keys"]:
                raise DataError(
                    f"{folder}: observed from other inputs than {folders[0]}, observe it again"
                )

    def table(self, table: str, columns: dict[str, pa.DataType]) -> pd.DataFrame:
        rows = pd.concat(
            [read_table(path, columns) for path in self._blocks(table)], ignore_index=True
        )
        self._check(rows["id"].tolist())
        return rows

    def states(self) -> tuple[list[str], np.ndarray]:
        parts = [read_states(path) for path in self._blocks(STATES)]
        ids = [name for part, _ in parts for name in part]
        self._check(ids)
        return ids, np.concatenate([states_NF for _, states_NF in parts])

    def _blocks(self, table: str) -> list[Path]:
        paths = {
            index: block_path(folder, index, table)
            for folder, manifest in zip(self.folders, self.manifests, strict=True)
            for index in manifest["blocks"]
        }
        return [paths[index] for index in sorted(paths)]

    def _check(self, ids: list[str]) -> None:
        if ids != self.ids:
            raise DataError(
                f"{self.folders[0].parent}: the observed rows are not those of set {self.name!r}"
            )

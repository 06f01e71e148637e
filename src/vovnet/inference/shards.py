"""How an observation is stored: tables of a group, cut into blocks and shards, and joined.

A trained model is observed on a set in two groups of tables, so that a further view leaves the
actions as they are: `actions` holds the signals and states of the text pass and a table for the
view of each action, `views` a table for each further view. A set is cut into blocks of
`eval.shard_rows` rows, each a file per table; shard i of n holds every n-th block.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json, sha256_json, write_json
from vovnet.core.records import (
    OBSERVATION_COLUMNS,
    TIMING_COLUMNS,
    check_table,
    read_states,
    read_table,
    signal_columns,
    write_states,
    write_table,
)
from vovnet.data.sets import load_set
from vovnet.pipeline.claims import held_folder
from vovnet.pipeline.manifest import write_manifest
from vovnet.pipeline.trained_model import TrainedModel

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
    rows, starts = range(num_rows), range(0, num_rows, block_rows)
    blocks = [(index, rows[start : start + block_rows]) for index, start in enumerate(starts)]
    return blocks[shard::num_shards]


@contextmanager
def claimed_tables(folder: Path, keys: Mapping[str, Any]) -> Iterator[None]:
    """Hold a shard's folder, and have in it of the wanted tables what is made from their inputs.

    `keys` holds the hashes of the inputs of each wanted table. Blocks of other inputs are set aside
    in the shard's folder, and taken up again when those inputs come back. Another process at work
    there is waited for, on whatever machine it runs: a killed Snakemake leaves its jobs, and the
    next call starts the same ones again.
    """
    path = folder / "keys.json"
    with held_folder(folder, path.name):
        folder.mkdir(exist_ok=True)
        known: dict[str, Any] = {}
        with suppress(DataError):  # where it is damaged, blocks of unknown inputs are set aside
            known = read_json(path) if path.exists() else {}
        for table, key in keys.items():
            if known.get(table) != key:
                _move_blocks(folder, _aside(folder, table, known.get(table)), table)
                _move_blocks(_aside(folder, table, key), folder, table)
        write_json(path, known | dict(keys))
        yield


def whole_block(folder: Path, index: int, table: str) -> bool:
    """Whether a block is there as it was written; one that is damaged is told."""
    path = block_path(folder, index, table)
    if not path.exists():
        return False
    try:
        check_table(path)
    except DataError as error:
        print(f"{error}: it is made again", file=sys.stderr)
        return False
    return True


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
    group = "views" if views else "actions"
    expected = [sample.id for sample in load_set(settings, trained.layout, name)]
    count = settings.eval.num_shards
    folders = [trained.shard(name, group, shard, count) for shard in range(count)]
    manifest_files = {
        f"shard{shard}": folder / "manifest.json" for shard, folder in enumerate(folders)
    }
    manifests = [read_json(path) for path in manifest_files.values()]
    blocks: dict[int, Path] = {}
    for folder, manifest in zip(folders, manifests, strict=True):
        if manifest["keys"] != manifests[0]["keys"]:
            raise DataError(
                f"{folder}: observed from other inputs than {folders[0]}, observe it again"
            )
        blocks |= dict.fromkeys(manifest["blocks"], folder)
    for index, folder in blocks.items():
        wanted = views or (SIGNALS, STATES, *settings.actions)
        if not all(whole_block(folder, index, table) for table in wanted):
            (folder / "manifest.json").unlink()
            raise DataError(
                f"{folder}: block {index} is gone or damaged: call again to have it observed again"
            )

    def paths(table: str) -> list[Path]:
        """The blocks of a table in the order of the set."""
        return [block_path(blocks[index], index, table) for index in sorted(blocks)]

    def check(ids: list[str]) -> None:
        if ids != expected:
            raise DataError(f"{folders[0].parent}: the observed rows are not those of set {name!r}")

    def rows(table: str, columns: dict[str, pa.DataType]) -> pd.DataFrame:
        parts = [read_table(path, columns) for path in paths(table)]
        joined = pd.concat(parts, ignore_index=True)
        check(joined["id"].tolist())
        return joined

    target = trained.observations(name)
    outputs = {}
    if not views:
        outputs = {table: target / f"{table}.parquet" for table in (SIGNALS, STATES)}
        signals = signal_columns(settings.actions)
        write_table(outputs[SIGNALS], rows(SIGNALS, signals), signals)
        states = [read_states(path) for path in paths(STATES)]
        check([name for ids, _ in states for name in ids])
        write_states(outputs[STATES], expected, np.concatenate([part_NF for _, part_NF in states]))
    for view in views or settings.actions:
        outputs[view] = target / f"{view}.parquet"
        observed = rows(view, VIEW_COLUMNS)
        write_table(outputs[view], observed, OBSERVATION_COLUMNS)
        write_table(target / f"{view}.timings.parquet", observed, TIMING_COLUMNS)
    write_manifest(
        trained.observation_manifest(name, group),
        step="observe",
        settings=settings,
        inputs=manifest_files,
        outputs=outputs,
        **trained.facts,
        set=name,
        num_samples=len(expected),
        key=manifests[0]["key"],
        device=manifests[0]["device"],
    )

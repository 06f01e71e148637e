"""Files appear whole: writers that are killed, that meet, or whose file system has no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import save_file

from vovnet.config import Settings, yaml_text
from vovnet.core.errors import DataError, error_line
from vovnet.core.files import (
    HashCache,
    atomic_path,
    move,
    read_json,
    sha256_file,
    write_text,
    writing_bytes,
)
from vovnet.core.records import write_states, write_table, writing_table
from vovnet.data.samples import write_samples
from vovnet.evaluation.columns import write_csv
from vovnet.model.vovnet import save_weights
from vovnet.pipeline.manifest import write_manifest
from vovnet.pipeline.trained_model import run_of

DIES = """
import os, signal, sys
from vovnet.core.files import atomic_path

with atomic_path(sys.argv[1]) as partial:
    partial.write_text("half of " * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_gone_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", DIES, str(path)])
        assert done.returncode == -signal.SIGKILL
    assert [left.name for left in tmp_path.iterdir()] == [".table.csv.partial"]
    write_text(path, "whole")
    assert [(left.name, left.read_text()) for left in tmp_path.iterdir()] == [
        ("table.csv", "whole")
    ]


def test_writers_that_meet_each_write_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    texts = [str(number) * 50_000 for number in range(8)]
    found: list[str] = []

    def write(text: str) -> None:
        for _ in range(50):
            write_text(path, text)
            found.append(path.read_text())

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 400
    assert set(found) <= set(texts)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_locks_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    path = tmp_path / "table.csv"
    with atomic_path(path) as first, atomic_path(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"


def test_the_umask_says_who_may_read_a_file(tmp_path: Path) -> None:
    """Also of those that a library wrote for their owner alone, in a folder that is moved."""
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial/weights").touch(0o600)
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "table.csv", "whole")
        move(tmp_path / "partial", tmp_path / "checkpoint")
    finally:
        os.umask(before)
    for name in ("table.csv", "checkpoint/weights"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


@pytest.mark.parametrize("kept", ["pipe", "[]", '{"PATH": 5}', '{"PATH": [1]}', "{"])
def test_hashes_that_are_no_record_are_made_anew(tmp_path: Path, kept: str) -> None:
    path, cache = tmp_path / "dev.tsv", tmp_path / "hashes.json"
    path.write_text("rows")
    os.mkfifo(cache) if kept == "pipe" else cache.write_text(kept.replace("PATH", str(path)))
    assert HashCache(cache).hashes([path]) == {path: sha256_file(path)}
    assert [*read_json(cache)] == [str(path)]


def test_bytes_are_on_the_disk_before_a_name_and_a_name_before_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        happened.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> Path:
        happened.append(f"rename {target.name}")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_text(tmp_path / "table.csv", "whole")
    assert happened == [
        "sync .table.csv.partial",
        "rename table.csv",
        f"sync {tmp_path.name}",
    ]
    happened.clear()
    (tmp_path / "aside").mkdir()
    (tmp_path / "aside/state.bin").write_bytes(b"whole")
    move(tmp_path / "aside", tmp_path / "checkpoint-1")
    expected = ["sync state.bin", "sync aside", "rename checkpoint-1", f"sync {tmp_path.name}"]
    assert happened == expected


def test_what_a_library_puts_in_the_place_of_a_file_is_readable_as_others_are(
    tmp_path: Path,
) -> None:
    before = os.umask(0o022)
    try:
        with atomic_path(tmp_path / "model.safetensors") as partial:
            save_file({"weight": torch.zeros(4)}, partial)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o644


def _figure(path: Path) -> None:
    with atomic_path(path) as partial:
        Figure().savefig(partial, format="pdf")


def _checkpoint(path: Path) -> None:
    with writing_bytes(path) as file:
        torch.save({"weight": torch.zeros(2)}, file)


def _in_parts(path: Path) -> None:
    with writing_table(path, {"id": pa.string()}) as add:
        add(pd.DataFrame({"id": ["a"]}))


WRITERS: dict[str, Callable[[Path], object]] = {
    "manifest.json": lambda path: write_manifest(path, step="test", settings=Settings()),
    "hashes.json": lambda path: HashCache(path).digest([path.with_name("read.txt")]),
    "config.yaml": lambda path: write_text(path, yaml_text({"seeds": [0]})),
    "samples.jsonl": lambda path: write_samples(path, []),
    "results.csv": lambda path: write_csv(path, [{"a": 1}], ["a"]),
    "table.parquet": lambda path: write_table(path, pd.DataFrame({"a": ["x"]}), {"a": pa.string()}),
    "parts.parquet": _in_parts,
    "states.parquet": lambda path: write_states(path, ["a"], np.zeros((1, 2), np.float16)),
    "figure.pdf": _figure,
    "model.safetensors": lambda path: save_weights(None, path, {"weight": torch.zeros(2)}),
    "checkpoint.pt": _checkpoint,
}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_fails_at_the_end_leaves_every_kind_of_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    """The disk takes the bytes, and says only when asked that they are not there."""

    def failing(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    path, read = tmp_path / name, tmp_path / "read.txt"
    path.write_text("{}")
    read.write_text("what is hashed")
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError) as caught:
        WRITERS[name](path)
    line = error_line(caught.value)
    room = " (make room, and call again)" * (number == errno.ENOSPC)
    assert line == f"{path}: {os.strerror(number)}{room}"
    assert path.read_text() == "{}" and {*tmp_path.iterdir()} == {path, read}


def test_a_manifest_is_an_object_and_weights_may_lie_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.pt").touch()
    assert run_of(Path("weights.pt")) == {}
    Path("manifest.json").write_text("[1]")
    with pytest.raises(DataError, match=r"manifest\.json: expected a JSON object, got list"):
        run_of(Path("weights.pt"))

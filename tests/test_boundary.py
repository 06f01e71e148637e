"""What files, permissions and disks can cause ends in one line and status 2, whoever meets it."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from support.commands import called
from support.permissions import permissions_count
from support.properties import given, st
from vovnet import cli
from vovnet.commands import steps
from vovnet.core.errors import OF_FILES, DataError, error_line
from vovnet.core.files import atomic_path, write_text

RAW = {
    "synth_mmbench": ("dev", "synth_mmbench_dev.tsv"),
    "synth_mmmu": ("validation", "*/validation-*.parquet"),
    "synth_textvqa": ("val", "TextVQA_0.5.1_val.json"),
    "synth_llava": ("train", "llava_instruct.json"),
}
"""Dataset -> a split, and the file that it is read from."""


def is_one_line(text: str) -> bool:
    return text.startswith("vovnet") and ": error: " in text and text.count("\n") == 1


# ---- the line --------------------------------------------------------------------------


@given(
    st.sampled_from([*OF_FILES, errno.ECONNRESET, errno.EBUSY, errno.ENODEV]),
    st.sampled_from(["a.tsv", "folder/b c.json", "données 数据"]),
    st.booleans(),
)
def test_every_error_of_the_system_is_one_line(number: int, name: str, named: bool) -> None:
    error = OSError(number, os.strerror(number), name) if named else OSError(number, "it\nfails")
    line = error_line(error)
    assert line is not None and "\n" not in line
    assert not named or line.startswith(f"{name}: {os.strerror(number)}")


def test_a_library_that_repeats_the_systems_text_is_one_line_and_a_fault_is_none() -> None:
    assert error_line(RuntimeError("I/O error: Permission denied\n(os error 13)")) == (
        "I/O error: Permission denied (os error 13)"
    )
    assert error_line(KeyError("answer")) is None
    assert error_line(AssertionError()) is None


def test_a_line_that_quotes_a_long_file_has_its_beginning_and_its_end() -> None:
    line = error_line(DataError("a.tsv, row 1: got " + "x" * 5_000_000 + ", expected a letter"))
    assert line is not None and len(line) < 1100
    assert line.startswith("a.tsv, row 1: got xx") and line.endswith("xx, expected a letter")


class Failing(io.StringIO):
    """A file that was opened, and whose disk then fails."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.name = str(path)

    def read(self, size: int | None = -1) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_disk_that_fails_while_a_file_is_read_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.touch()
    try:
        with Failing(path) as file:
            file.read()
    except OSError as error:
        assert error_line(error) == f"{path}: Input/output error"


def test_what_is_read_while_a_file_is_written_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.touch()
    out = tmp_path / "out.jsonl"
    with pytest.raises(OSError) as caught, atomic_path(out), Failing(path) as file:
        file.read()
    assert error_line(caught.value) == f"{path}: Input/output error"


def test_the_line_blames_no_bystander_and_never_fails(tmp_path: Path) -> None:
    beside = tmp_path / "config.yaml"
    beside.touch()
    too_long = Path("x" * 300)
    with pytest.raises(OSError, match="reset") as caught:
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    assert error_line(caught.value) == "Connection reset by peer"
    with pytest.raises(OSError, match="No space") as full:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    line = f"{beside}: No space left on device (make room, and call again)"
    assert error_line(full.value) in (line, line.partition(": ")[2]), too_long


def test_a_full_disk_is_one_line_whichever_library_meets_it() -> None:
    error = sqlite3.OperationalError("database or disk is full")
    assert error_line(error) == (
        "database or disk is full, in the folder for temporary files (make room, and call again)"
    )
    with pytest.raises(OSError, match="No space") as caught, Path("/dev/full").open("wb") as file:
        torch.save({"weight": torch.zeros(100_000)}, file)
    assert "make room" in str(error_line(caught.value))


def test_a_broken_pipe_that_is_not_the_output_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    monkeypatch.setattr(steps, "leakage", replace(steps.leakage, run=fails))
    assert called(["leakage", "--config", "nowhere.yaml"], capsys) == (
        2,
        "vovnet: error: Broken pipe\n",
    )


def test_a_disk_that_fails_while_a_file_is_written_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with pytest.raises(OSError, match="No space") as caught, atomic_path(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    line = f"{path}: No space left on device (make room, and call again)"
    assert error_line(caught.value) == line
    assert list(tmp_path.iterdir()) == []


# ---- permissions and places ------------------------------------------------------------


@contextmanager
def no_permission(path: Path) -> Iterator[None]:
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with permissions_count():
            yield
    finally:
        path.chmod(mode)


@contextmanager
def replaced(path: Path, change: Callable[[Path], object]) -> Iterator[None]:
    """Another thing in the place of a file or folder."""
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    change(path)
    try:
        yield
    finally:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        aside.rename(path)


@contextmanager
def piped(path: Path) -> Iterator[None]:
    """A pipe to which nobody writes, in the place of a file; who waits for it is told."""

    def waits(*_: object) -> None:
        raise AssertionError(f"{path}: a pipe was waited for")

    before = signal.signal(signal.SIGALRM, waits)
    signal.alarm(60)
    try:
        with replaced(path, os.mkfifo):
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


FAULTS: dict[str, Callable[[Path], Any]] = {
    "no permission": no_permission,
    "a folder": lambda path: replaced(path, Path.mkdir),
    "a link to itself": lambda path: replaced(path, lambda link: link.symlink_to(link)),
    "a link to nothing": lambda path: replaced(path, lambda link: link.symlink_to("gone")),
    "an empty file": lambda path: replaced(path, Path.touch),
    "a pipe": piped,
    "bytes": lambda path: replaced(path, lambda file: file.write_bytes(b"\xff\xfe\x00" * 99)),
}


@pytest.fixture(scope="module")
def own(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the prepared world, whose files may be damaged for a while."""
    root = tmp_path_factory.mktemp("own") / "world"
    shutil.copytree(world, root)
    text = (root / "config.yaml").read_text().replace(str(world), str(root))
    (root / "config.yaml").write_text(text)
    return root


def commands(root: Path) -> list[list[str]]:
    """Commands that read every file of the world, and write again what is there."""
    shared = ["--config", str(root / "config.yaml")]
    prepared = [
        ["prepare", *shared, "--dataset", dataset, "--split", split]
        for dataset, (split, _) in RAW.items()
    ]
    return [*prepared, ["leakage", *shared], ["inspect", "synth_mmmu", *shared]]


def draws(root: Path) -> list[tuple[str, Path, list[str]]]:
    """Faults, the files that they befall, and commands, drawn at random but always the same."""
    generator = random.Random(5)
    paths = sorted(path for path in root.rglob("*") if path.is_file() or path.is_dir())
    paths = [path for path in paths if ".lock" not in path.name]
    named = [next((root / "raw" / dataset).glob(name)) for dataset, (_, name) in RAW.items()]
    drawn = [
        (fault, path, command)
        for path, command in zip(named, commands(root), strict=False)
        for fault in FAULTS
    ]
    for _ in range(24):
        path, command = generator.choice(paths), generator.choice(commands(root))
        drawn.append((generator.choice([*FAULTS]), path, command))
    return drawn


def test_whatever_befalls_a_file_is_one_line(
    own: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command ends well where it does not read the file, else in one line that names one."""
    refused = 0
    for fault, path, command in draws(own):
        with FAULTS[fault](path):
            status, errors = called(command, capsys)
        told = (fault, path, command[0], errors)
        assert status == 0 or (status == 2 and is_one_line(errors)), told
        assert status == 0 or str(own) in errors, told
        refused += status == 2
    assert refused > len(RAW) * (len(FAULTS) - 1)
    for command in commands(own):
        assert called(command, capsys)[0] == 0, "nothing is left damaged"


@pytest.mark.parametrize("place", ["config.yaml", "data", "data/synth_mmbench"])
def test_places_that_cannot_be_read_or_written_are_named(
    own: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    mode = (own / place).stat().st_mode
    (own / place).chmod(0o000 if place.endswith(".yaml") else 0o555)
    try:
        with permissions_count():
            status, errors = called(commands(own)[0], capsys)
    finally:
        (own / place).chmod(mode)
    if place == "data":  # only what lies deeper is written
        assert status == 0, errors
    else:
        assert status == 2 and is_one_line(errors)
        assert f"{own / place}" in errors and "Permission denied" in errors


def test_an_output_folder_that_is_a_file_is_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for command in ("bench_gpu", "plan"):
        arguments = [command, "--output", str(tmp_path / "file" / "below")]
        status, errors = called(arguments, capsys)
        assert status == 2 and is_one_line(errors)
        assert f"argument --output: {tmp_path}/file is a file, expected a folder" in errors


# ---- the terminal ----------------------------------------------------------------------

SAYS = """
import sys, types
from vovnet import cli
from vovnet.commands.common import Command
module = sys.modules["vovnet.commands.fakes"] = types.ModuleType("fakes")
module.fake = Command("fake", [], lambda args: print({text!r} * {times}))
cli.COMMANDS["fake"] = ("fakes", "")
sys.exit(cli.main(["fake"]))
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_what_the_terminal_cannot_show_is_replaced(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAYS.format(text="category 数据: 3", times=1)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"category ??: 3\n", b"")


def test_a_reader_that_ends_early_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SAYS.format(text="line\n", times=100_000)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == cli.BROKEN_PIPE


def test_a_path_that_the_locale_cannot_spell_is_one_line(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    write_text(config, json.dumps({"results_dir": f"{tmp_path}/数据"}))
    done = subprocess.run(
        [sys.executable, "-m", "vovnet", "leakage", "--config", str(config)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    )
    assert done.returncode == 2 and is_one_line(done.stderr), done.stderr

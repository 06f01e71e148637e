"""`make setup`: an installation that was killed is begun anew, and one that is done stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from support.repository import ROOT

PYTHON = """#!/bin/sh
# Stands for Python: makes an environment whose own Python installs, or ends as it is told.
case "$*" in
    *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *"-m pip"*)
        touch ".venv/unpacked"
        read -r where end < ends-at
        case "$*" in *"$where"*) echo "nothing true" > ends-at; $end ;; esac
        echo "$*" >> installed ;;
esac
"""


def setup(folder: Path) -> int:
    command = ["make", "--silent", "setup", "PYTHON=./python"]
    return subprocess.run(command, cwd=folder, start_new_session=True).returncode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    for project in (ROOT / "src").glob("*/pyproject.toml"):
        (tmp_path / "src" / project.parent.name).mkdir(parents=True)
        shutil.copy(project, tmp_path / "src" / project.parent.name)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "ends-at").write_text("nothing true")
    return tmp_path


def test_a_killed_installation_is_begun_anew(folder: Path) -> None:
    (folder / "ends-at").write_text("envs/requirements.txt kill -KILL 0")
    assert setup(folder) == -signal.SIGKILL
    (folder / ".venv/half-unpacked").touch()
    (folder / "installed").unlink(missing_ok=True)
    assert setup(folder) == 0
    assert not (folder / ".venv/half-unpacked").exists()
    installed = (folder / "installed").read_text()
    assert installed.count("install") == 3, "everything, once"
    for project in (folder / "src").iterdir():
        assert f"--editable src/{project.name}" in installed
    (folder / ".venv/kept").touch()
    assert setup(folder) == 0
    assert (folder / "installed").read_text() == installed
    assert (folder / ".venv/kept").exists()


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
@pytest.mark.parametrize("end", ["exit 1", "kill -KILL 0"])
def test_a_complete_environment_outlives_what_fails_later(
    folder: Path, file: str, end: str
) -> None:
    """A newer list of packages cannot be installed, as without a network, or is killed."""
    assert setup(folder) == 0
    (folder / ".venv/kept").touch()
    future = (folder / ".venv/.installed-dev").stat().st_mtime + 10
    os.utime(folder / "envs" / file, (future, future))
    (folder / "ends-at").write_text(f"envs/{file} {end}")
    assert setup(folder) != 0
    assert setup(folder) == 0
    begun_anew = file == "requirements.txt" and end != "exit 1"
    assert (folder / ".venv/kept").exists() != begun_anew

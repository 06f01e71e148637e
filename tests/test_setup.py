"""`make setup`: an installation that was killed is begun anew, and one that is done stays."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from support.repository import ROOT

PYTHON = """#!/bin/sh
# Stands for Python: makes an environment whose own Python installs, or kills its make meanwhile.
case "$*" in
    *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *"-m pip"*)
        touch ".venv/unpacked"
        case "$*" in *"$(cat killed-at)"*) echo nothing > killed-at; kill -KILL 0 ;; esac
        echo "$*" >> installed ;;
esac
"""


def setup(folder: Path) -> int:
    command = ["make", "--silent", "setup", "PYTHON=./python"]
    return subprocess.run(command, cwd=folder, start_new_session=True).returncode


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_a_killed_installation_is_begun_anew(tmp_path: Path, file: str) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "killed-at").write_text(f"envs/{file}")
    assert setup(tmp_path) == -signal.SIGKILL
    (tmp_path / ".venv/half-unpacked").touch()
    (tmp_path / "installed").unlink(missing_ok=True)
    assert setup(tmp_path) == 0
    assert not (tmp_path / ".venv/half-unpacked").exists()
    installed = (tmp_path / "installed").read_text()
    assert installed.count("install") == 3, "everything, once"
    (tmp_path / ".venv/kept").touch()
    assert setup(tmp_path) == 0
    assert (tmp_path / "installed").read_text() == installed
    assert (tmp_path / ".venv/kept").exists()

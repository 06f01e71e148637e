"""The whole DAG for real, once undisturbed, and once killed again and again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from support.projects import contents, copy_project
from support.repository import ROOT

TARGETS = ("paper_tables",)
CONFIG = ("--configfile", "config/test.yaml", "small.yaml")
SMALL = """\
data: {synthetic: {num_eval_questions: 8, num_train_questions: 16}}
training: {batch_size: 4, calibration_samples: 4}
eval: {num_shards: 1, shard_rows: 4, bootstrap_samples: 50}
seeds: [0]
"""
TABLES = ("main_table", "cross_benchmark", "pareto", "action_ratio", "hull_metrics")
TABLES += ("resolution_test", "oracle", "profiling")
LIVE = "profile_vovnet"

pytestmark = pytest.mark.slow


class Project:
    """A copy of the project, in which the one command is called."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self.folder = folder
        self.results = folder / "results/test"
        copy_project(folder, root)
        (folder / "small.yaml").write_text(SMALL)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "snakemake", *TARGETS, *CONFIG]
        with (self.folder / "output.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(self.folder / "src")},
            )

    def finish(self) -> str:
        """Run to the end; returns what was said meanwhile."""
        before = len(self.output)
        assert self.start().wait() == 0, self.output[-4000:]
        return self.output[before:]

    @property
    def output(self) -> str:
        path = self.folder / "output.log"
        return path.read_text() if path.exists() else ""

    def kill_when(self, moment: Callable[[], bool]) -> bool:
        """Start, and kill -9 the whole process tree at a moment; False if it ended before."""
        process = self.start()
        while not moment():
            if process.poll() is not None:
                assert process.returncode == 0, self.output[-4000:]
                return False
            time.sleep(0.02)
        kill_tree(process.pid)
        process.wait()
        return True

    def contents(self) -> dict[str, object]:
        return contents(self.results)


def kill_tree(pid: int) -> None:
    """Stop every process first, so that none starts another while the others are killed."""
    parent = psutil.Process(pid)
    tree: set[psutil.Process] = set()
    while (found := {parent, *parent.children(recursive=True)}) - tree:
        for process in found - tree:
            tree.add(process)
            signal_to(process, signal.SIGSTOP)
    for process in tree:
        signal_to(process, signal.SIGKILL)
    psutil.wait_procs(tree - {parent}, timeout=10)


def signal_to(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, float]:
    """A finished project, and how many seconds it took."""
    project = Project(tmp_path_factory.mktemp("undisturbed"))
    began = time.monotonic()
    project.finish()
    return project, time.monotonic() - began


def test_one_command_leaves_everything(undisturbed: tuple[Project, float]) -> None:
    project, _ = undisturbed
    paper = project.results / "paper"
    for table in TABLES:
        for suffix in (".csv", ".md", ".tex"):
            assert (paper / (table + suffix)).stat().st_size > 0
    for figure in ("accuracy_cost", "action_ratio"):
        for suffix in (".pdf", ".png"):
            assert (paper / "figures" / (figure + suffix)).stat().st_size > 0
    names = set(project.contents())
    assert "observations/vovnet/seed0/synth_mmmu/signals.parquet" in names
    assert "runs/vovnet/seed0/stage2/model.safetensors" in names
    assert f"eval/{LIVE}/samples.parquet" in names


def test_a_second_call_does_nothing(undisturbed: tuple[Project, float]) -> None:
    project, _ = undisturbed
    assert "Nothing to be done" in project.finish()


def test_killed_at_any_moment_it_finishes_with_the_same_bytes(
    undisturbed: tuple[Project, float], tmp_path: Path
) -> None:
    """Ten kills: in the first jobs, amid training, amid observation, and at random moments.

    The moments that wait for a file come before the random ones, which may run past them.
    """
    whole, took_s = undisturbed
    project = Project(tmp_path, whole.folder)
    rng = random.Random(20)

    def after(share: float) -> Callable[[], bool]:
        deadline = time.monotonic() + share * took_s
        return lambda: time.monotonic() > deadline

    def exists(pattern: str, unless: str) -> Callable[[], bool]:
        return lambda: any(project.results.glob(pattern)) and not any(project.results.glob(unless))

    stage2 = "runs/vovnet/seed0/stage2"
    shard = "observations/vovnet/seed0/*/shards/actions/0-of-1"
    kills = [
        project.kill_when(after(rng.uniform(0.02, 0.08))),
        project.kill_when(exists(f"{stage2}/checkpoint-*", f"{stage2}/manifest.json")),
        project.kill_when(exists(f"{shard}/block-000000.full.parquet", f"{shard}/manifest.json")),
    ]
    assert all(kills)
    for _ in range(7):
        project.kill_when(after(rng.uniform(0.05, 0.3)))
    project.finish()
    assert "Nothing to be done" in project.finish()
    expected, found = whole.contents(), project.contents()
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []

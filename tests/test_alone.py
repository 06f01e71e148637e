"""Timed runs are alone on their machine, or say that they were not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from other_users import BOB, MALLORY, as_user, folder_open_to_all

from gpu_leases import LeaseError
from support.projects import plan
from support.repository import ROOT
from vovnet.commands.plan.runs import Simulation, rehearse
from vovnet.commands.plan.schedules import GREEDY, OURS
from vovnet.commands.plan.tasks import MANY_CORES, Span, Task, in_order, load_suite, lower_bound_s
from vovnet.machine.alone import NAME, alone, at_work

WORK = """
from vovnet.machine.alone import at_work
with at_work():
    print("working", flush=True)
    input()
"""


@contextmanager
def another() -> Iterator[subprocess.Popen[str]]:
    """Another command, which works until its input ends."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environ = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen([sys.executable, "-c", WORK], text=True, env=environ, **pipes) as process:
        yield process
        process.communicate("\n")


def line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


def test_a_timed_run_beside_another_command_is_not_alone() -> None:
    with another() as process:
        assert line(process.stdout) == "working"
        with at_work(), alone() as is_alone:
            assert not is_alone
    with at_work(), alone() as is_alone:
        assert is_alone
    with alone() as is_alone:
        assert is_alone


def test_commands_wait_for_a_timed_run() -> None:
    with at_work():
        timed = alone()
        assert timed.__enter__()
        with another() as process:
            assert line(process.stderr) == "vovnet: waiting for a timed run on this machine"
            timed.__exit__(None, None, None)
            assert line(process.stdout) == "working"


def test_a_folder_that_cannot_hold_locks_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_LEASES", "/dev/null/locks")
    error = "/dev/null/locks: Not a directory, GPU_LEASES can name another folder for locks"
    with pytest.raises(LeaseError, match=error), at_work():
        pass


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    with folder_open_to_all() as folder:
        yield folder


@pytest.mark.parametrize("put", ["folder", "pipe", "link", "unreadable", "two links"])
def test_nobody_is_stopped_by_what_stands_in_place_of_the_lock(open_to_all: Path, put: str) -> None:
    lock = open_to_all / NAME

    def hinder() -> None:
        if put == "folder":
            lock.mkdir()
        elif put == "pipe":
            os.mkfifo(lock)
        elif put == "link":
            lock.symlink_to("/etc/passwd")
        else:
            lock.touch(0o000 if put == "unreadable" else 0o644)
        if put == "two links":
            os.link(lock, open_to_all / "second")

    def works() -> object:
        signal.alarm(20)
        with at_work({"GPU_LEASES": str(open_to_all)}), alone() as is_alone:
            return is_alone

    assert as_user(BOB, works) == "True"
    lock.unlink()
    assert as_user(MALLORY, hinder) == "None"
    assert as_user(BOB, works) == "False"


# ---- in Snakemake ----------------------------------------------------------------------


def alone_in(spans: list[Span]) -> bool:
    """Whether nothing runs beside a live job."""
    live = [span for span in spans if span.task.stage == "live"]
    assert live
    return not any(
        span.start_s < one.end_s and one.start_s < span.end_s
        for one in live
        for span in spans
        if span is not one
    )


def test_a_live_job_that_is_ready_beside_others_waits_for_them() -> None:
    tasks = [Task(f"short {i}", "observe", f"short {i}", 1, 1, 20 + i) for i in range(5)]
    tasks += [Task(f"live {i}", "live", f"live {i}", 1, MANY_CORES, 20) for i in range(2)]
    tasks += [Task("later", "evaluate", "later", 0, 1, 20, ("live 0",))]
    tasks = in_order(tasks)
    assert lower_bound_s(tasks, 2) == 40 + (20 + 21 + 22 + 23 + 24) / 2
    rehearsed = rehearse(tasks, (OURS, GREEDY), 2, 4, seconds=2)
    for name, spans in zip((OURS, GREEDY), rehearsed, strict=True):
        assert alone_in(spans), name
        assert alone_in(Simulation(tasks, name, 2, 4, order=0).run()), name


def test_timed_rules_take_the_machine_or_a_node() -> None:
    suite = load_suite(["profiling"], [ROOT / "config/paper.yaml"], everything=True)
    cores = {task.name: task.cores for task in suite.tasks if task.stage == "live"}
    assert len(cores) == 6
    assert set(cores.values()) == {MANY_CORES}
    paper = plan(config="paper.yaml")
    assert paper.resources("observe", alone=True)["slurm_extra"] == "--exclusive"
    assert "slurm_extra" not in paper.resources("observe")
    command = paper.timed("live", "{run}")({"run": "x"}, {"gpu": 1}, 64)
    assert command.startswith("OMP_NUM_THREADS=8 MKL_NUM_THREADS=8 OPENBLAS_NUM_THREADS=8 python")

"""Rehearsals: Snakemake runs the jobs of a plan, which only sleep, in a fraction of their time.

In `simulate` only the schedulers' choices are real. Here Snakemake itself runs, with all the work
that it does besides choosing. Devices are counted (`--resources gpu=N`), but nobody holds them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from vovnet.commands.plan.tasks import Span, Task, lower_bound_s
from vovnet.core.errors import VovnetError
from vovnet.core.files import write_json, write_text
from vovnet.core.progress import progress

SNAKEFILE = Path(__file__).with_name("rehearsal.smk")
POLL_S = 0.5


def rehearse(
    tasks: Sequence[Task], schedulers: Sequence[str], gpus: int, cores: int, seconds: float
) -> list[list[Span]]:
    """Run the tasks under each scheduler, all at the same time; the lower bound takes `seconds`.

    Times of the returned spans are scaled back and count from the start of the first job.
    """
    scale = seconds / lower_bound_s(tasks, gpus)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folders = [Path(name) / scheduler for scheduler in schedulers]
        running = []
        for scheduler, folder in zip(schedulers, folders, strict=True):
            _write_jobs(tasks, scale, folder)
            running.append(_start(scheduler, gpus, cores, folder))
            stack.callback(_stop, running[-1])
        _wait(running, folders, len(tasks))
        return [_read_spans(tasks, gpus, scale, folder) for folder in folders]


def _write_jobs(tasks: Sequence[Task], scale: float, folder: Path) -> None:
    numbers = {task.name: str(number) for number, task in enumerate(tasks)}
    jobs = {
        numbers[task.name]: {
            "needs": [numbers[name] for name in task.needs],
            "gpus": task.gpus,
            "cores": task.cores,
            "seconds": round(task.duration_s * scale, 3),
        }
        for task in tasks
    }
    write_json(folder / "jobs.json", {"jobs": jobs})
    for number, job in jobs.items():
        write_text(folder / f"benchmarks/{number}.tsv", f"s\n{job['seconds']}\n")


def _start(scheduler: str, gpus: int, cores: int, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE)]
    command += ["--directory", str(folder), "--configfile", str(folder / "jobs.json")]
    command += ["--scheduler", scheduler, "--cores", str(cores), "--resources", f"gpu={gpus}"]
    command += ["--workflow-profile", "none", "--nolock"]
    environment = {key: value for key, value in os.environ.items() if key != "SNAKEMAKE_PROFILE"}
    # The scheduler plugin lies beside this package, where Snakemake finds it on the path.
    paths = [str(Path(__file__).parents[3]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with (folder / "snakemake.log").open("wb") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def _wait(
    running: Sequence[subprocess.Popen[bytes]], folders: Sequence[Path], num_jobs: int
) -> None:
    shown = 0
    with progress("rehearsed jobs") as show:
        while any(process.poll() is None for process in running):
            time.sleep(POLL_S)
            ended = sum(1 for folder in folders for _ in folder.glob("ended/*"))
            if ended > shown:
                show(ended, num_jobs * len(folders))
                shown = ended
    for process, folder in zip(running, folders, strict=True):
        if process.returncode != 0:
            log = (folder / "snakemake.log").read_text(encoding="utf-8", errors="replace")
            raise VovnetError(f"the rehearsal under {folder.name} failed:\n{log[-2000:]}")


def _read_spans(tasks: Sequence[Task], gpus: int, scale: float, folder: Path) -> list[Span]:
    """The spans in which the jobs ran. Each gets the free devices with the lowest numbers."""
    times = []
    for number, task in enumerate(tasks):
        began, ended = map(float, (folder / f"ended/{number}").read_text().split())
        times.append((began, ended, task))
    times.sort(key=lambda item: item[:2])
    first = times[0][0]
    free_from = [first] * gpus
    spans = []
    for began, ended, task in times:
        devices = [device for device in range(gpus) if free_from[device] <= began][: task.gpus]
        if len(devices) < task.gpus:
            raise VovnetError(f"rehearsal: {task.name} ran on devices that were not free")
        for device in devices:
            free_from[device] = ended
        spans.append(Span(task, (began - first) / scale, (ended - first) / scale, tuple(devices)))
    return spans

"""Runs of a plan, simulated or rehearsed, under the schedulers that Snakemake uses.

In a simulation the schedulers are called as Snakemake calls them: whenever jobs have ended, with
the ready jobs and the free resources. Only the jobs and the clock are pretended. In a rehearsal
Snakemake itself runs, with all the work that it does besides choosing, and its jobs only sleep.
Devices are then counted (`--resources gpu=N`), but nobody holds them.
"""

import heapq
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vovnet.commands.plan.tasks import Span, Task, lower_bound_s
from vovnet.core.errors import VovnetError
from vovnet.core.files import read_log, read_text, write_json, write_text
from vovnet.core.progress import progress

SNAKEFILE = Path(__file__).with_name("rehearsal.smk")
POLL_S = 0.5

# ---- simulated -------------------------------------------------------------------------


class PretendedDag:
    """A DAG of jobs that exist only in a simulation, with the methods that schedulers call."""

    def __init__(self, tasks: Sequence[Task], cores: int) -> None:
        self.jobs = {
            task.name: PretendedJob(number, task, cores) for number, task in enumerate(tasks)
        }
        self.ended: set[str] = set()

    def needrun_jobs(self) -> list[Any]:
        return [job for job in self.jobs.values() if not self.finished(job)]

    def job_dependencies(self, job: Any) -> list[Any]:
        return [self.jobs[name] for name in job.task.needs]

    def finished(self, job: Any) -> bool:
        return job.task.name in self.ended


class PretendedJob:
    """A job that asks for GPUs and cores only, with the attributes that schedulers read."""

    priority = 0
    input: tuple[str, ...] = ()
    benchmark = None

    def __init__(self, jobid: int, task: Task, cores: int) -> None:
        self.jobid, self.task = jobid, task
        self.rule = SimpleNamespace(name=task.name)
        self.is_norun = task.duration_s == 0
        self.resources = self.scheduler_resources = {
            **{"_cores": min(task.cores, cores), "gpu": task.gpus, "_job_count": 1},
            "runtime": task.duration_s / 60,
        }


class Simulation:
    """A run of `tasks` under the named scheduler on `gpus` devices and `cores`.

    Snakemake offers the ready jobs in no particular order; here `order` seeds it.
    """

    def __init__(
        self, tasks: Sequence[Task], scheduler: str, gpus: int, cores: int, order: int
    ) -> None:
        from snakemake_scheduler_plugin_gpu import Scheduler
        from vovnet.pipeline.snakemake_private import own_schedulers

        self.dag = PretendedDag(tasks, cores)
        self.now_s = 0.0
        self.random = random.Random(order)
        self.waiting = dict(self.dag.jobs)
        self.needs = {name: len({*job.task.needs}) for name, job in self.dag.jobs.items()}
        self.needed_by: dict[str, list[str]] = {name: [] for name in self.dag.jobs}
        for name, job in self.dag.jobs.items():
            for other in {*job.task.needs}:
                self.needed_by[other].append(name)
        self.ready = {name for name, count in self.needs.items() if not count}
        self.free = {"_cores": cores, "gpu": gpus, "_job_count": len(tasks) + 1}
        self.devices = list(range(gpus))
        self.running: list[tuple[float, int, Span]] = []
        logger = SimpleNamespace(warning=_fail)
        own = own_schedulers()
        kind, settings = own.get(scheduler, (Scheduler, None))
        self.scheduler: Any = kind(self.dag, settings, logger)
        self.scheduler.clock = lambda: self.now_s
        kind, settings = own["greedy"]
        self.greedy: Any = kind(self.dag, settings, logger)

    def run(self) -> list[Span]:
        spans = []
        while self.waiting or self.running:
            self._start()
            if not self.running:
                raise VovnetError(f"no scheduler starts {sorted(self.waiting)[0]}: it fits nowhere")
            self.now_s = self.running[0][0]
            while self.running and self.running[0][0] <= self.now_s:
                spans.append(self._end())
        return spans

    def _start(self) -> None:
        if not self.ready:
            return
        ready = sorted((self.dag.jobs[name] for name in self.ready), key=lambda job: job.jobid)
        self.random.shuffle(ready)
        offer: tuple[Any, ...] = (ready, list(self.waiting.values()), dict(self.free), {})
        chosen = self.scheduler.select_jobs(*offer)
        if chosen is None:
            chosen = self.greedy.select_jobs(*offer)
        for job in chosen:
            self._change_free(job, -1)
            devices = tuple(self.devices[: job.task.gpus])
            del self.devices[: job.task.gpus]
            end_s = self.now_s + job.task.duration_s
            span = Span(job.task, self.now_s, end_s, devices)
            heapq.heappush(self.running, (end_s, job.jobid, span))
            del self.waiting[job.task.name]
            self.ready.remove(job.task.name)

    def _end(self) -> Span:
        span = heapq.heappop(self.running)[2]
        self._change_free(self.dag.jobs[span.task.name], 1)
        self.devices = sorted([*self.devices, *span.devices])
        self.dag.ended.add(span.task.name)
        for name in self.needed_by[span.task.name]:
            self.needs[name] -= 1
            if not self.needs[name]:
                self.ready.add(name)
        return span

    def _change_free(self, job: Any, sign: int) -> None:
        for name in ("_cores", "gpu"):
            self.free[name] += sign * job.scheduler_resources[name]
        assert min(self.free.values()) >= 0, "a scheduler gave away more than there is"


def _fail(text: str) -> None:
    raise VovnetError(f"simulation: {text}")


# ---- rehearsed -------------------------------------------------------------------------


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
            log = read_log(folder / "snakemake.log")
            raise VovnetError(f"the rehearsal under {folder.name} failed:\n{log[-2000:]}")


def _read_spans(tasks: Sequence[Task], gpus: int, scale: float, folder: Path) -> list[Span]:
    """The spans in which the jobs ran. Each gets the free devices with the lowest numbers."""
    times = []
    for number, task in enumerate(tasks):
        began, ended = map(float, read_text(folder / f"ended/{number}").split())
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

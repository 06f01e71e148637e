"""Simulated runs of a DAG under the schedulers of Snakemake.

The schedulers are the classes that Snakemake uses, called as Snakemake calls them: whenever jobs
have ended, with the ready jobs and the free resources. Only the jobs and the clock are pretended.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from vovnet.commands.plan.tasks import Span, Task
from vovnet.core.errors import VovnetError


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
        self.scheduler_resources = {
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
        self.waiting = {name: set(job.task.needs) for name, job in self.dag.jobs.items()}
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
        ready = [self.dag.jobs[name] for name, needs in self.waiting.items() if not needs]
        if not ready:
            return
        self.random.shuffle(ready)
        remaining = [self.dag.jobs[name] for name in self.waiting]
        offer: tuple[Any, ...] = (ready, remaining, dict(self.free), {})
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

    def _end(self) -> Span:
        span = heapq.heappop(self.running)[2]
        self._change_free(self.dag.jobs[span.task.name], 1)
        self.devices = sorted([*self.devices, *span.devices])
        self.dag.ended.add(span.task.name)
        for needs in self.waiting.values():
            needs.discard(span.task.name)
        return span

    def _change_free(self, job: Any, sign: int) -> None:
        for name in ("_cores", "gpu"):
            self.free[name] += sign * job.scheduler_resources[name]
        assert min(self.free.values()) >= 0, "a scheduler gave away more than there is"


def _fail(text: str) -> None:
    raise VovnetError(f"simulation: {text}")

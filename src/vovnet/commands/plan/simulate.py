"""Simulated runs of a DAG under Snakemake's schedulers and under the packing by hand.

The schedulers are Snakemake's own classes, asked as Snakemake asks them: whenever jobs have
ended, with the ready jobs and the free resources. Only the jobs and the clock are pretended.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from snakemake_scheduler_plugin_gpu.tasks import Task
from vovnet.core.errors import VovnetError


@dataclass(frozen=True)
class Span:
    """A job's place in a schedule, seconds from its start; `devices` are numbered from 0."""

    task: Task
    start_s: float
    end_s: float
    devices: tuple[int, ...]


def makespan_s(spans: Iterable[Span]) -> float:
    return max((span.end_s for span in spans), default=0.0)


class PretendedDag:
    """What a scheduler may ask about jobs that exist only in a simulation."""

    def __init__(self, tasks: Sequence[Task], cores: int) -> None:
        self.jobs = {task.name: _job(number, task, cores) for number, task in enumerate(tasks)}
        self.ended: set[str] = set()

    def needrun_jobs(self) -> list[Any]:
        return [job for job in self.jobs.values() if not self.finished(job)]

    def job_dependencies(self, job: Any) -> list[Any]:
        return [self.jobs[name] for name in job.task.needs]

    def finished(self, job: Any) -> bool:
        return job.task.name in self.ended


@dataclass(eq=False)
class PretendedJob:
    """The attributes that schedulers read, of a job that asks for devices and cores only."""

    task: Task
    jobid: int
    scheduler_resources: Mapping[str, float]
    rule: SimpleNamespace
    is_norun: bool
    priority: int = 0
    input: tuple[str, ...] = ()
    benchmark: None = None


def _job(number: int, task: Task, cores: int) -> PretendedJob:
    asked = {"_cores": min(task.cores, cores), "gpu": task.gpus, "_job_count": 1}
    return PretendedJob(
        task=task,
        jobid=number,
        scheduler_resources=asked | {"runtime": task.duration_s / 60},
        rule=SimpleNamespace(name=task.name),
        is_norun=task.duration_s == 0,
    )


def simulate(
    tasks: Sequence[Task], scheduler_class: type, settings: Any, gpus: int, cores: int, order: int
) -> list[Span]:
    """Run `tasks` under a scheduler; `order` seeds the order in which ready jobs are offered.

    Snakemake offers them in no particular order.
    """
    return _Simulation(tasks, scheduler_class, settings, gpus, cores, order).run()


class _Simulation:
    def __init__(
        self,
        tasks: Sequence[Task],
        scheduler_class: type,
        settings: Any,
        gpus: int,
        cores: int,
        order: int,
    ) -> None:
        from snakemake.scheduling import greedy

        self.dag = PretendedDag(tasks, cores)
        self.now_s = 0.0
        self.dice = random.Random(order)
        self.waiting = {name: set(job.task.needs) for name, job in self.dag.jobs.items()}
        self.free = {"_cores": cores, "gpu": gpus, "_job_count": len(tasks) + 1}
        self.devices = list(range(gpus))
        self.running: list[tuple[float, int, Span]] = []
        logger = SimpleNamespace(warning=_fail)
        self.scheduler = scheduler_class(self.dag, settings, logger)
        self.scheduler.clock = lambda: self.now_s
        self.greedy = greedy.Scheduler(self.dag, greedy.SchedulerSettings(), logger)

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
        self.dice.shuffle(ready)
        remaining = [self.dag.jobs[name] for name in self.waiting]
        chosen = self.scheduler.select_jobs(ready, remaining, dict(self.free), {})
        if chosen is None:
            chosen = self.greedy.select_jobs(ready, remaining, dict(self.free), {})
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


# ---- by hand ---------------------------------------------------------------------------


def pack_by_hand(tasks: Sequence[Task], gpus: int) -> list[Span]:
    """The specification's packing: a training on every GPU, then a pack of evaluations.

    Within a pack the k-th command (`unit`, with all its shards) is typed with
    CUDA_VISIBLE_DEVICES=k modulo `gpus`; the next training is typed when the pack has ended.
    Jobs without GPUs cost nobody's attention here: they start as soon as their inputs exist.
    """
    ends: dict[str, float] = {}
    spans: list[Span] = []

    def place(task: Task, earliest_s: float, devices: tuple[int, ...]) -> float:
        begin_s = max([earliest_s, *(ends[name] for name in task.needs)])
        ends[task.name] = begin_s + task.duration_s
        spans.append(Span(task, begin_s, ends[task.name], devices))
        return ends[task.name]

    everything = tuple(range(gpus))
    clock_s = 0.0
    for pack in _packs(tasks):
        free_s = dict.fromkeys(everything, clock_s)
        units = list(dict.fromkeys(task.unit for task in pack if 0 < task.gpus < gpus))
        for task in pack:
            if task.gpus == 0:
                place(task, 0.0, ())
                continue
            if task.unit in units and task.gpus == 1:
                devices: tuple[int, ...] = (units.index(task.unit) % gpus,)
            else:
                devices = everything[: task.gpus]
            end_s = place(task, max(free_s[device] for device in devices), devices)
            free_s.update(dict.fromkeys(devices, end_s))
        clock_s = max(free_s.values(), default=clock_s)
    return spans


def _packs(tasks: Sequence[Task]) -> list[list[Task]]:
    """Jobs in an order in which they can be typed, cut before every training of the suite."""
    packs: list[list[Task]] = [[]]
    placed: set[str] = set()
    left = list(tasks)

    def take(wanted: Iterable[Task]) -> bool:
        taken = [task for task in wanted if placed.issuperset(task.needs)]
        for task in taken:
            placed.add(task.name)
            packs[-1].append(task)
            left.remove(task)
        return bool(taken)

    while left:
        while take([task for task in left if not is_training(task)]):
            pass
        trainings = [task for task in left if is_training(task) and placed.issuperset(task.needs)]
        if trainings:
            packs.append([])
            # A stage 2 that can be trained goes before another stage 1.
            take([max(trainings, key=lambda task: task.stage)])
        elif left:
            raise VovnetError(f"{left[0].name}: needs a job that is not in the plan")
    return packs


def is_training(task: Task) -> bool:
    return task.gpus > 0 and task.stage.startswith("train")

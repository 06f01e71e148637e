"""The jobs of a plan, and where a schedule puts them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from snakemake_scheduler_plugin_gpu.run_times import tails


@dataclass(frozen=True)
class Task:
    """One job, and what is known of it before it runs.

    `stage` is the name of its rule. `unit` is what a person would type as one command: the shards
    of an observation share it. `needs` are names of other tasks.
    """

    name: str
    stage: str
    unit: str
    gpus: int
    cores: int
    duration_s: float
    needs: tuple[str, ...] = ()

    @property
    def gpu_hours(self) -> float:
        return self.gpus * self.duration_s / 3600


@dataclass(frozen=True)
class Span:
    """A task's place in a schedule, in seconds from its start; devices are numbered from 0."""

    task: Task
    start_s: float
    end_s: float
    devices: tuple[int, ...]


def makespan_s(spans: Iterable[Span]) -> float:
    return max((span.end_s for span in spans), default=0.0)


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """The tasks in an order in which they could run; it does not depend on the order given."""
    named = {task.name: task for task in sorted(tasks, key=lambda task: task.name)}
    order = TopologicalSorter({name: task.needs for name, task in named.items()})
    return [named[name] for name in order.static_order()]


def by_stage(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """Stage -> its tasks, both in the order of `tasks`."""
    stages: dict[str, list[Task]] = {}
    for task in tasks:
        stages.setdefault(task.stage, []).append(task)
    return stages


def lower_bound_s(tasks: Sequence[Task], gpus: int) -> float:
    """No schedule is shorter than its longest path, or than its GPU work spread over all GPUs."""
    durations = {task.name: task.duration_s for task in tasks}
    longest_path_s = max(tails(durations, {task.name: task.needs for task in tasks}).values())
    work_s = sum(task.gpus * task.duration_s for task in tasks)
    return max(longest_path_s, work_s / gpus if gpus else 0.0)

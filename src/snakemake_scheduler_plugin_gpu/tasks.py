"""A DAG as the schedulers see it: devices, cores, expected run times in seconds, needs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """One job. `unit` names what a person would type as one command, such as all shards."""

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


def tails(durations: Mapping[str, float], needs: Mapping[str, Iterable[str]]) -> dict[str, float]:
    """Seconds from the start of each job to the end of the DAG along its longest path."""
    order = list(TopologicalSorter(needs).static_order())
    tail: dict[str, float] = dict.fromkeys(durations, 0.0)
    for name in reversed(order):
        tail[name] += durations[name]
        for needed in needs.get(name, ()):
            tail[needed] = max(tail[needed], tail[name])
    return tail


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """The tasks in an order in which they could run, the same whatever their order was."""
    named = {task.name: task for task in sorted(tasks, key=lambda task: task.name)}
    order = TopologicalSorter({name: task.needs for name, task in named.items()})
    return [named[name] for name in order.static_order()]


def by_stage(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """Stage -> its tasks, both in the order of `tasks`."""
    stages: dict[str, list[Task]] = {}
    for task in tasks:
        stages.setdefault(task.stage, []).append(task)
    return stages


def critical_path_s(tasks: Sequence[Task]) -> float:
    durations = {task.name: task.duration_s for task in tasks}
    return max(tails(durations, {task.name: task.needs for task in tasks}).values(), default=0.0)


def lower_bound_s(tasks: Sequence[Task], gpus: int) -> float:
    """No schedule is shorter: the critical path, or the GPU work spread over all devices."""
    work_s = sum(task.gpus * task.duration_s for task in tasks)
    return max(critical_path_s(tasks), work_s / gpus if gpus else 0.0)


def measured_s(benchmark: Path) -> float | None:
    """Mean wall time of a benchmark file of Snakemake; None where there is no valid one."""
    try:
        with benchmark.open(encoding="utf-8", newline="") as file:
            times = [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
    except (OSError, KeyError, ValueError):
        return None
    return sum(times) / len(times) if times else None

"""Schedules of one suite: under this project's scheduler, Snakemake's own, and packed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vovnet.commands.plan.packing import pack_by_hand
from vovnet.commands.plan.rehearse import rehearse
from vovnet.commands.plan.simulate import simulate
from vovnet.commands.plan.tasks import Span, Task, by_stage, lower_bound_s, makespan_s
from vovnet.core.errors import VovnetError

OURS, ILP, GREEDY, BY_HAND = "gpu", "ilp", "greedy", "by hand"
NUM_ORDERS = 2
"""Orders in which ready jobs are offered to Snakemake's own schedulers, which depend on it."""


@dataclass(frozen=True)
class Schedule:
    """One way to run a suite.

    Where a scheduler was tried with several orders, `spans` are those of the shortest run.
    """

    name: str
    spans: list[Span]
    lengths_s: list[float]

    @property
    def shortest_s(self) -> float:
        return min(self.lengths_s)

    @property
    def longest_s(self) -> float:
        return max(self.lengths_s)


def compare(tasks: Sequence[Task], gpus: int, cores: int) -> list[Schedule]:
    """Simulate the suite on `gpus` devices; raises VovnetError where a job asks for more."""
    _check_devices(tasks, gpus)
    result = []
    for name, num_orders in ((OURS, 1), (ILP, NUM_ORDERS), (GREEDY, NUM_ORDERS)):
        runs = [simulate(tasks, name, gpus, cores, order) for order in range(num_orders)]
        result.append(Schedule(name, min(runs, key=makespan_s), list(map(makespan_s, runs))))
    return [*result, _by_hand(tasks, gpus)]


def compare_rehearsed(
    tasks: Sequence[Task], gpus: int, cores: int, seconds: float
) -> list[Schedule]:
    """Run the suite with jobs that sleep, so fast that the lower bound takes `seconds`.

    The packing by hand has no scheduler that could be rehearsed; it is computed as in `compare`.
    """
    _check_devices(tasks, gpus)
    names = [OURS, ILP, GREEDY]
    runs = rehearse(tasks, names, gpus, cores, seconds)
    result = [
        Schedule(name, spans, [makespan_s(spans)]) for name, spans in zip(names, runs, strict=True)
    ]
    return [*result, _by_hand(tasks, gpus)]


def _check_devices(tasks: Sequence[Task], gpus: int) -> None:
    most = max(tasks, key=lambda task: task.gpus)
    if most.gpus > gpus:
        raise VovnetError(f"{most.name}: asks for {most.gpus} GPUs, but there are {gpus}")


def _by_hand(tasks: Sequence[Task], gpus: int) -> Schedule:
    packed = pack_by_hand(tasks, gpus)
    return Schedule(BY_HAND, packed, [makespan_s(packed)])


def stage_rows(tasks: Sequence[Task]) -> list[dict[str, object]]:
    """Jobs and GPU-hours of each stage, and its longest job, in the order of the stages."""
    return [
        {
            "stage": stage,
            "jobs": len(members),
            "gpu_hours": sum(task.gpu_hours for task in members),
            "hours_per_job": max(task.duration_s for task in members) / 3600,
        }
        for stage, members in by_stage(tasks).items()
    ]


def schedule_rows(schedules: Sequence[Schedule], tasks: Sequence[Task], gpus: int) -> list[dict]:
    """The shortest and longest run of each schedule, in hours and as multiples of the bound."""
    bound_s = lower_bound_s(tasks, gpus)
    return [
        {
            "scheduler": item.name,
            "makespan_hours": item.shortest_s / 3600,
            "worst_makespan_hours": item.longest_s / 3600,
            "times_lower_bound": item.shortest_s / bound_s,
            "worst_times_lower_bound": item.longest_s / bound_s,
        }
        for item in schedules
    ]

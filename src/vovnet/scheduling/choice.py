"""Which of the ready jobs start now.

An integer program maximises the GPUs in use, each weighed from once to twice by the job's urgency:
the time from its start to the end of the DAG along the longest path. So the critical path goes
first, and no GPU is left idle for it.
For the most urgent job that waits for more GPUs than are free, devices are reserved: a job that
starts before it must have ended when the last of them comes free, or leave enough beside it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import pulp

SOLVER_LIMIT_S = 10
GPU = "gpu"


class UnsureError(Exception):
    """No choice can be made; the text says why."""


@dataclass(frozen=True)
class Candidate:
    """A ready job. `tail_s` runs from its start to the end of the DAG."""

    key: Hashable
    duration_s: float
    tail_s: float
    priority: int = 0
    resources: Mapping[str, int] = field(default_factory=dict)

    @property
    def gpus(self) -> int:
        return self.resources.get(GPU, 0)


@dataclass(frozen=True)
class Running:
    gpus: int
    left_s: float


@dataclass(frozen=True)
class Reservation:
    """Devices kept for one job: from `start_s` on only `spare` are left beside it."""

    key: Hashable
    start_s: float
    spare: int


def choose(
    ready: Sequence[Candidate], running: Sequence[Running] | None, free: Mapping[str, int]
) -> list[Hashable]:
    """The keys of the jobs to start now, with `free` resources; `running` is None if unclear."""
    kept = reserve(ready, running, free)
    shapes = _undominated([job for job in ready if _fits(job.resources, free)], free, kept)
    jobs = [job for alike in shapes for job in alike]
    late = sum(job.gpus for job in jobs if _delays(job, kept))
    if _fits(_total(jobs, free), free) and (kept is None or late <= kept.spare):
        return [job.key for job in jobs]
    return _solve(shapes, free, kept)


def reserve(
    ready: Sequence[Candidate], running: Sequence[Running] | None, free: Mapping[str, int]
) -> Reservation | None:
    """Devices for the most urgent job that waits for more GPUs than are free."""
    available = free.get(GPU)
    if available is None:
        return None
    waiting = [job for job in ready if job.gpus > max(1, available)]
    if not waiting:
        return None
    if running is None:
        raise UnsureError("which jobs hold the GPUs is unclear since one failed")
    first = max(waiting, key=_urgency)
    for item in sorted(running, key=lambda item: item.left_s):
        available += item.gpus
        if available >= first.gpus:
            freed = sum(other.gpus for other in running if other.left_s <= item.left_s)
            return Reservation(first.key, item.left_s, free[GPU] + freed - first.gpus)
    raise UnsureError("a job waits for more GPUs than the running jobs are known to hold")


def _urgency(job: Candidate) -> tuple[int, float]:
    return job.priority, job.tail_s


def _fits(asked: Mapping[str, int], free: Mapping[str, int]) -> bool:
    return all(asked.get(name, 0) <= free[name] for name in free)


def _total(jobs: Sequence[Candidate], names: Mapping[str, int]) -> dict[str, int]:
    return {name: sum(job.resources.get(name, 0) for job in jobs) for name in names}


def _delays(job: Candidate, kept: Reservation | None) -> bool:
    """Whether a job would still hold its GPUs when the reserved job is to start."""
    return kept is not None and job.gpus > 0 and job.duration_s > kept.start_s


def _undominated(
    jobs: Sequence[Candidate], free: Mapping[str, int], kept: Reservation | None
) -> list[list[Candidate]]:
    """The most urgent jobs of each shape, as many as fit: the others are in no best choice."""
    shapes: dict[tuple[Any, ...], list[Candidate]] = defaultdict(list)
    for job in jobs:
        asked = tuple(job.resources.get(name, 0) for name in free)
        shapes[(*asked, _delays(job, kept))].append(job)
    result = []
    for shape, alike in shapes.items():
        counts = [free[name] // asked for name, asked in zip(free, shape, strict=False) if asked]
        alike.sort(key=_urgency, reverse=True)
        result.append(alike[: min(counts, default=len(alike))])
    return result


def _solve(
    shapes: Sequence[Sequence[Candidate]], free: Mapping[str, int], kept: Reservation | None
) -> list[Hashable]:
    """The heaviest choice; of each shape the most urgent jobs first."""
    jobs = [job for alike in shapes for job in alike]
    problem = pulp.LpProblem("jobs", pulp.LpMaximize)
    starts = [problem.add_variable(f"job_{index}", cat=pulp.LpBinary) for index in range(len(jobs))]
    problem += pulp.lpSum(
        _weight(job, jobs) * start for job, start in zip(jobs, starts, strict=True)
    )
    # Jobs that could stand for each other would keep the solver comparing equal choices.
    firsts = set(accumulate((len(alike) for alike in shapes), initial=0))
    for index in range(1, len(jobs)):
        if index not in firsts:
            problem += starts[index] <= starts[index - 1]
    for name, amount in free.items():
        used = [
            (job.resources.get(name, 0), start) for job, start in zip(jobs, starts, strict=True)
        ]
        if any(count for count, _ in used):
            problem += pulp.lpSum(count * start for count, start in used) <= amount
    if kept is not None:
        late = [
            job.gpus * start for job, start in zip(jobs, starts, strict=True) if _delays(job, kept)
        ]
        problem += pulp.lpSum(late) <= kept.spare
    try:
        status = problem.solve(pulp.PULP_CBC_CMD(msg=False, threads=1, timeLimit=SOLVER_LIMIT_S))
    except pulp.PulpSolverError as error:
        raise UnsureError(f"the solver failed ({error})") from error
    if pulp.LpStatus[status] != "Optimal":
        raise UnsureError(f"the solver found no best choice ({pulp.LpStatus[status].lower()})")
    chosen = zip(jobs, starts, strict=True)
    return [job.key for job, start in chosen if math.isclose(start.value(), 1, abs_tol=1e-6)]


def _weight(job: Candidate, jobs: Sequence[Candidate]) -> float:
    """GPUs by urgency, then cores by urgency; one step of priority outweighs all of them."""
    longest = max(other.tail_s for other in jobs) or 1.0
    most_gpus = sum(other.gpus for other in jobs) + 1
    urgency = (0.001 + job.tail_s / longest) / 1.001
    share = job.gpus + job.resources.get("_cores", 1) / 1e4
    return share * (1 + urgency) + job.priority * 4 * most_gpus

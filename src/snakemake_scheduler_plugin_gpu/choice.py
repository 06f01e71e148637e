"""The choice of the ready jobs that start now.

An integer program maximises the GPUs in use. Each GPU counts from once to twice, by the urgency of
its job: the time from the job's start to the end of the DAG along the longest path. So the critical
path goes first, and yet no GPU is left idle for it.

A job of several GPUs would starve beside a stream of jobs of one GPU, because its GPUs are never
free at the same time. So GPUs and cores are reserved for the most urgent job that waits for
several: a job that starts before it must end by the time at which the last of them comes free, or
leave enough beside it.
"""

import copy
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import nlargest
from typing import Any

import pulp

SOLVER_LIMIT_S = 10
GPU, CORES = "gpu", "_cores"
RESERVED = (GPU, CORES)


class NoChoiceError(Exception):
    """No choice can be made; the text says why."""


@dataclass(frozen=True)
class Candidate:
    """A ready job. `tail_s` are the seconds from its start to the end of the DAG."""

    key: Hashable
    duration_s: float
    tail_s: float
    priority: int = 0
    resources: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def gpus(self) -> int:
        return self.resources.get(GPU, 0)

    @cached_property
    def shape(self) -> tuple[tuple[str, int], ...]:
        """What it asks for; jobs of one shape ask for the same."""
        return tuple(sorted(self.resources.items()))


@dataclass(frozen=True)
class Running:
    """A job at work: when it is expected to end, and what it holds until then."""

    left_s: float
    resources: Mapping[str, int]


@dataclass(frozen=True)
class Reservation:
    """GPUs and cores kept for one job.

    It can start in `start_s` seconds. What others hold from then on must fit into `spare`.
    """

    key: Hashable
    start_s: float
    spare: Mapping[str, int]


def choose(
    ready: Sequence[Candidate], running: Sequence[Running] | None, free: Mapping[str, int]
) -> list[Hashable]:
    """The keys of the jobs to start now with the `free` resources.

    `running` is None where it is unclear what runs. Raises NoChoiceError.
    """
    kept = reserve(ready, running, free)
    jobs = _undominated(ready, free, kept)
    # Where all of them fit at once, there is nothing to solve.
    if _fits(_total(jobs, free), free) and (kept is None or _leaves(jobs, kept)):
        return [job.key for job in jobs]
    return _solve(jobs, free, kept)


def reserve(
    ready: Sequence[Candidate], running: Sequence[Running] | None, free: Mapping[str, int]
) -> Reservation | None:
    """Reserve GPUs and cores for the most urgent job of several GPUs that has to wait for some.

    Where it is unclear what runs, nothing that holds a GPU starts before that job.
    """
    names = [name for name in RESERVED if name in free]
    at_hand = {name: free[name] for name in names}
    waiting = [job for job in ready if job.gpus > 1 and not _fits(job.resources, at_hand)]
    if not waiting:
        return None
    first = max(waiting, key=_urgency)
    if running is None:
        return Reservation(first.key, 0.0, {GPU: 0})
    # The job can start when enough of those at work have ended, one after the other.
    for start_s in sorted({item.left_s for item in running}):
        returned = _total([item for item in running if item.left_s <= start_s], names)
        spare = {name: free[name] + returned[name] - first.resources.get(name, 0) for name in names}
        if min(spare.values()) >= 0:
            return Reservation(first.key, start_s, spare)
    raise NoChoiceError("a job waits for more than the running jobs are known to hold")


def _urgency(job: Candidate) -> tuple[int, float]:
    return job.priority, job.tail_s


def _fits(asked: Mapping[str, int], free: Mapping[str, int]) -> bool:
    return all(asked.get(name, 0) <= free[name] for name in free)


def _total(jobs: Sequence[Candidate | Running], names: Iterable[str]) -> dict[str, int]:
    return {name: sum(job.resources.get(name, 0) for job in jobs) for name in names}


def _delays(job: Candidate, kept: Reservation | None) -> bool:
    """Whether a job would still run when the reserved job is to start."""
    return kept is not None and job.duration_s > kept.start_s


def _leaves(jobs: Sequence[Candidate], kept: Reservation) -> bool:
    """Whether these jobs leave the reserved job all that is kept for it."""
    return _fits(_total([job for job in jobs if _delays(job, kept)], kept.spare), kept.spare)


def _undominated(
    jobs: Sequence[Candidate], free: Mapping[str, int], kept: Reservation | None
) -> list[Candidate]:
    """The most urgent jobs of each shape, as many as fit.

    Where they are alike to the reserved job as well, a best choice without the others exists, and
    the integer program stays small.
    """
    shapes: dict[tuple[Any, bool], list[Candidate]] = defaultdict(list)
    for job in jobs:
        shapes[job.shape, _delays(job, kept)].append(job)
    result = []
    for alike in shapes.values():
        asked = alike[0].resources
        counts = [free[name] // asked[name] for name in free if asked.get(name, 0)]
        result += nlargest(min(counts, default=len(alike)), alike, key=_urgency)
    return result


def _solve(
    jobs: Sequence[Candidate], free: Mapping[str, int], kept: Reservation | None
) -> list[Hashable]:
    """The best choice by an integer program with one binary variable for each job."""
    problem = pulp.LpProblem("jobs", pulp.LpMaximize)
    starts = {
        job.key: problem.add_variable(f"job_{index}", cat=pulp.LpBinary)
        for index, job in enumerate(jobs)
    }
    problem += pulp.lpSum(_weight(job, jobs) * starts[job.key] for job in jobs)
    limits = [(jobs, free)]
    if kept is not None:
        limits.append(([job for job in jobs if _delays(job, kept)], kept.spare))
    for group, amounts in limits:
        for name, amount in amounts.items():
            asking = [job for job in group if job.resources.get(name, 0)]
            if asking:
                total = pulp.lpSum(job.resources[name] * starts[job.key] for job in asking)
                problem += total <= amount
    try:
        status = problem.solve(_solver())
    except pulp.PulpSolverError as error:
        raise NoChoiceError(f"the solver failed ({error})") from error
    if pulp.LpStatus[status] != "Optimal":
        raise NoChoiceError(f"the solver gives no best choice ({pulp.LpStatus[status].lower()})")
    return [job.key for job in jobs if math.isclose(starts[job.key].value(), 1, abs_tol=1e-6)]


def _solver() -> pulp.LpSolver:
    """A silent copy of PuLP's default solver with a limit of time.

    Its number of threads is left open: given one, CBC now and then waits until the time is up.
    """
    if pulp.LpSolverDefault is None:
        raise NoChoiceError("PuLP finds no solver on this machine")
    solver = copy.copy(pulp.LpSolverDefault)
    solver.msg, solver.timeLimit = False, SOLVER_LIMIT_S
    return solver


def _weight(job: Candidate, jobs: Sequence[Candidate]) -> float:
    """GPUs by urgency, then cores by urgency; one step of priority outweighs all of them."""
    longest = max(other.tail_s for other in jobs) or 1.0
    most_gpus = sum(other.gpus for other in jobs) + 1
    urgency = (0.001 + job.tail_s / longest) / 1.001
    share = job.gpus + job.resources.get(CORES, 1) / 1e4
    return share * (1 + urgency) + job.priority * 4 * most_gpus

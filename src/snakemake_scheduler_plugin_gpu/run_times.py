"""How long jobs are expected to run, and how much of the DAG waits for each of them."""

import csv
from collections.abc import Hashable, Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)


class UnknownRunTimeError(Exception):
    """The run time of a job was neither measured nor declared; the text names its rule."""


def measure(jobs: Iterable[Any], measured: dict[Any, float]) -> list[Any]:
    """Read the benchmark files of those of Snakemake's `jobs` that are not `measured` yet.

    Their seconds are added to `measured`; returns the jobs that have some.
    """
    found = []
    for job in jobs:
        if job not in measured and job.benchmark is not None:
            seconds = measured_s(Path(job.benchmark))
            if seconds is not None:
                measured[job] = seconds
                found.append(job)
    return found


def durations(jobs: Iterable[Any], measured: Mapping[Any, float]) -> dict[Any, float]:
    """Expected seconds of each of Snakemake's `jobs`.

    A job's own measurement counts before the mean of its rule's other jobs, and that before the
    `runtime` that the rule declares.
    """
    of_rule: dict[str, list[float]] = {}
    for job, seconds in measured.items():
        of_rule.setdefault(job.rule.name, []).append(seconds)
    means = {rule: sum(seconds) / len(seconds) for rule, seconds in of_rule.items()}
    return {job: _duration_s(job, measured, means.get(job.rule.name)) for job in jobs}


def _duration_s(job: Any, measured: Mapping[Any, float], of_rule: float | None) -> float:
    # Snakemake asks for these once more when the job is ready, and of `scheduler_resources` it
    # would go on with the first answer, from before the job's inputs were there.
    declared_min = job.resources.get("runtime")
    if job in measured:
        return measured[job]
    if of_rule is not None:
        return of_rule
    if isinstance(declared_min, int | float):
        return declared_min * 60.0
    if job.is_norun:
        return 0.0
    raise UnknownRunTimeError(f"rule {job.rule.name} declares no runtime and was never measured")


def measured_s(benchmark: Path) -> float | None:
    """The mean wall time in a benchmark file of Snakemake; None where there is no valid file."""
    try:
        with benchmark.open(encoding="utf-8", newline="") as file:
            times = [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
    except (OSError, KeyError, ValueError):
        return None
    return sum(times) / len(times) if times else None


def tails(durations: Mapping[Key, float], needs: Mapping[Key, Iterable[Key]]) -> dict[Key, float]:
    """Seconds from the start of each job to the end of the DAG along its longest path."""
    order = list(TopologicalSorter(needs).static_order())
    tail: dict[Key, float] = dict.fromkeys(durations, 0.0)
    for key in reversed(order):
        tail[key] += durations[key]
        for needed in needs.get(key, ()):
            tail[needed] = max(tail[needed], tail[key])
    return tail

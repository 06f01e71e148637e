"""The jobs of a plan, which are those of the Snakefile that are still to run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from snakemake_scheduler_plugin_gpu.run_times import durations, tails

SHARDS = {"part", "parts"}
MANY_CORES = 10**6
"""More than any rule asks for, so that none is scaled down."""


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


def load_tasks(targets: Sequence[str], configfiles: Sequence[Path], everything: bool) -> list[Task]:
    """The jobs behind `targets`, in an order in which they could run.

    Run times are those that were measured before, else the declared ones.
    """
    from vovnet.pipeline.snakemake_private import planned_dag

    with planned_dag(targets, configfiles, everything, MANY_CORES) as dag:
        jobs = list(dag.needrun_jobs())
        times = durations(jobs, {})
        return in_order(_task(job, times[job], dag) for job in jobs)


def _task(job: Any, duration_s: float, dag: Any) -> Task:
    needs = (_name(other) for other in dag.job_dependencies(job) if dag.needrun(other))
    wildcards = {key: value for key, value in job.wildcards_dict.items() if key not in SHARDS}
    return Task(
        name=_name(job),
        stage=job.rule.name,
        unit=" ".join([job.rule.name, *wildcards.values()]),
        gpus=int(job.scheduler_resources.get("gpu", 0)),
        cores=int(job.scheduler_resources["_cores"]),
        duration_s=duration_s,
        needs=tuple(sorted(needs)),
    )


def _name(job: Any) -> str:
    return " ".join([job.rule.name, *map(str, job.wildcards_dict.values())])


def in_order(tasks: Iterable[Task]) -> list[Task]:
    """The tasks in an order in which they could run; it does not depend on the order given."""
    named = {task.name: task for task in sorted(tasks, key=lambda task: task.name)}
    order = TopologicalSorter({name: task.needs for name, task in named.items()})
    return [named[name] for name in order.static_order()]


def makespan_s(spans: Iterable[Span]) -> float:
    return max((span.end_s for span in spans), default=0.0)


def lower_bound_s(tasks: Sequence[Task], gpus: int) -> float:
    """No schedule is shorter than its longest path, or than its GPU work spread over all GPUs."""
    times = {task.name: task.duration_s for task in tasks}
    longest_path_s = max(tails(times, {task.name: task.needs for task in tasks}).values())
    work_s = sum(task.gpus * task.duration_s for task in tasks)
    return max(longest_path_s, work_s / gpus if gpus else 0.0)

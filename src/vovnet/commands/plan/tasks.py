"""The jobs of a plan, which are those of the Snakefile that are still to run."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from snakemake_scheduler_plugin_gpu.run_times import durations, measure, tails
from vovnet.commands.plan.estimates import NO_ESTIMATE, Estimate, Estimator
from vovnet.config import Settings
from vovnet.model.throughput import PACKAGED, Throughput, load_throughput

SHARDS = {"part", "parts"}
Known = Literal["measured", "estimated", "limit"]
"""Where a run time comes from."""

MANY_CORES = 10**6
"""More than any rule asks for, so that none is scaled down."""


@dataclass(frozen=True)
class Task:
    """One job, and what is known of it before it runs.

    `stage` is what it is counted under. `unit` is what a person would type as one command: the
    shards of an observation share it. `needs` are names of other tasks.
    """

    name: str
    stage: str
    unit: str
    gpus: int
    cores: int
    duration_s: float
    needs: tuple[str, ...] = ()
    known_from: Known = "limit"
    estimate: Estimate = NO_ESTIMATE

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


@dataclass(frozen=True)
class Suite:
    """The jobs of a target, in an order in which they could run, and what their times rest on.

    `assumed` names the splits whose samples are assumed, and `unknown` says of which not even
    the size is known.
    """

    settings: Settings
    throughput: Throughput
    source: Path
    tasks: list[Task]
    assumed: list[str]
    unknown: list[str]


def load_suite(
    targets: Sequence[str],
    configfiles: Sequence[Path],
    everything: bool,
    overrides: Mapping[str, Any] | None = None,
) -> Suite:
    """The jobs behind `targets`.

    A job's run time is the one that was measured before. Else it is estimated from its work, times
    what the measured jobs of its kind took in terms of their estimates. Where nothing is known of
    its work, it is the mean of the measured jobs of its kind, or else the declared limit.
    """
    from vovnet.pipeline.snakemake_private import planned_dag, settings_of

    with planned_dag(targets, configfiles, everything, MANY_CORES, overrides) as dag:
        settings = settings_of(dag)
        source = Path(settings.plan.throughput or PACKAGED)
        throughput = load_throughput(source)
        estimator = Estimator(settings, throughput)
        jobs = list(dag.needrun_jobs())
        measured: dict[Any, float] = {}
        measure(jobs, measured)
        limits = durations(jobs, measured)
        estimates = {job: estimator(job.rule.name, job.wildcards_dict, _gpus(job)) for job in jobs}
        expected = expected_times(jobs, measured, estimates)
        tasks = in_order(
            _task(job, dag, estimates[job], *expected.get(job, (limits[job], "limit")))
            for job in jobs
        )
    assumed, unknown = sorted(estimator.sizes.assumed), sorted(estimator.unknown)
    return Suite(settings, throughput, source, tasks, assumed, unknown)


def expected_times(
    jobs: Sequence[Any], measured: Mapping[Any, float], estimates: Mapping[Any, Estimate]
) -> dict[Any, tuple[float, Known]]:
    """Seconds of the jobs of which more is known than a limit, and from where."""
    alike: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for job in jobs:
        alike[job.rule.name, estimates[job].stage].append(job)
    found: dict[Any, tuple[float, Known]] = {}
    for kind in alike.values():
        took_s = {job: measured[job] for job in kind if job in measured}
        alone_s = {job: estimates[job].seconds or 0.0 for job in kind}
        estimated_s = sum(alone_s[job] for job in took_s)
        factor = sum(took_s.values()) / estimated_s if estimated_s else 1.0
        for job in kind:
            if job in took_s:
                found[job] = (took_s[job], "measured")
            elif estimates[job].seconds is not None:
                found[job] = (0.0 if job.is_norun else alone_s[job] * factor, "estimated")
            elif took_s:
                found[job] = (sum(took_s.values()) / len(took_s), "estimated")
    return found


def _task(job: Any, dag: Any, estimate: Estimate, duration_s: float, known_from: Known) -> Task:
    needs = (_name(other) for other in dag.job_dependencies(job) if dag.needrun(other))
    wildcards = {key: value for key, value in job.wildcards_dict.items() if key not in SHARDS}
    return Task(
        name=_name(job),
        stage=estimate.stage,
        unit=" ".join([job.rule.name, *wildcards.values()]),
        gpus=_gpus(job),
        cores=int(job.scheduler_resources["_cores"]),
        duration_s=duration_s,
        needs=tuple(sorted(needs)),
        known_from=known_from,
        estimate=estimate,
    )


def _gpus(job: Any) -> int:
    return int(job.scheduler_resources.get("gpu", 0))


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
    """No schedule is shorter than its longest path, or than its GPU work spread over all GPUs.

    While a job takes every core, no other GPU is in use.
    """
    times = {task.name: task.duration_s for task in tasks}
    longest_path_s = max(tails(times, {task.name: task.needs for task in tasks}).values())
    alone_s = sum(task.duration_s for task in tasks if task.cores == MANY_CORES)
    shared = [task for task in tasks if task.cores != MANY_CORES]
    work_s = sum(task.gpus * task.duration_s for task in shared)
    return max(longest_path_s, alone_s + (work_s / gpus if gpus else 0.0))

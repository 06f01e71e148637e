"""The jobs of the Snakefile that are still to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vovnet.commands.plan.tasks import Task, in_order

SHARDS = {"part", "parts"}
MANY_CORES = 10**6
"""More than any rule asks for, so that none is scaled down."""


def load_tasks(targets: Sequence[str], configfiles: Sequence[Path], everything: bool) -> list[Task]:
    """The jobs behind `targets`, in an order in which they could run.

    Run times are those that were measured before, else the declared ones.
    """
    from snakemake_scheduler_plugin_gpu.run_times import durations
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

"""`snakemake --scheduler gpu`: start jobs by GPUs and run times.

Run times are those that Snakemake measured before (its benchmark files), of the job itself or of
others of its rule, else the declared `runtime`. The choice is made by `choice`;
where that is unsure, Snakemake's greedy scheduler chooses, and the log says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_scheduler_plugins.base import SchedulerBase

if TYPE_CHECKING:
    from snakemake_scheduler_plugin_gpu.choice import Candidate, Running

Job = Any
"""Jobs of Snakemake; the interface's classes lack the rule's name."""

MIN_LEFT_S = 1.0
"""What is assumed to be left of a job that already took longer than expected."""


class Scheduler(SchedulerBase):
    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __post_init__(self) -> None:
        self._gpus: int | None = None
        self._began: dict[Job, float] = {}
        self._offered: tuple[set[Job], float] = (set(), 0.0)
        self._jobs: dict[Job, None] = {}
        self._unfinished: set[Job] = set()
        self._measured: dict[Job, float] = {}
        self._durations: dict[Job, float] = {}
        self._tails: dict[Job, float] = {}
        self._said: set[str] = set()

    def select_jobs(
        self,
        selectable_jobs: Sequence[Job],
        remaining_jobs: Sequence[Job],
        available_resources: Mapping[str, int | str],
        input_sizes: Mapping[Any, int],
    ) -> Sequence[Job] | None:
        from snakemake_scheduler_plugin_gpu.choice import UnsureError, choose

        free = {name: int(amount) for name, amount in available_resources.items()}
        now = self.clock()
        self._note_started(remaining_jobs)
        self._offered = set(selectable_jobs), now
        try:
            self._estimate()
            ready = self._candidates(selectable_jobs, free)
            chosen: Sequence[Any] = choose(ready, self._running(free, now), free)
            if not chosen and not self._began:
                raise UnsureError("no job fits the free resources")
        except UnsureError as error:
            self._say(f"gpu scheduler: {error}; the greedy scheduler chooses instead")
            return None
        return chosen

    def _note_started(self, remaining: Sequence[Job]) -> None:
        """Which jobs run, and since when, whoever chose them."""
        waiting = set(remaining)
        offered, then = self._offered
        began = {job: then for job in offered if job not in waiting} | self._began
        self._began = {
            job: time_s
            for job, time_s in began.items()
            if job not in waiting and not self.dag.finished(job)
        }

    def _running(self, free: Mapping[str, int], now: float) -> list[Running] | None:
        """The jobs at work; None where they do not add up to the GPUs in use.

        So it is after a job has failed for good, which nobody tells a scheduler.
        """
        from snakemake_scheduler_plugin_gpu.choice import GPU, RESERVED, Running

        running = [
            Running(
                max(began + self._durations[job] - now, MIN_LEFT_S),
                {name: _asked(job, name) for name in RESERVED},
            )
            for job, began in self._began.items()
        ]
        if GPU not in free:
            return running
        if self._gpus is None:
            self._gpus = free[GPU]
        in_use = sum(item.resources[GPU] for item in running)
        return running if in_use == self._gpus - free[GPU] else None

    def _candidates(self, jobs: Sequence[Job], free: Mapping[str, int]) -> list[Candidate]:
        from snakemake_scheduler_plugin_gpu.choice import Candidate

        return [
            Candidate(
                key=job,
                duration_s=self._durations[job],
                tail_s=self._tails[job],
                priority=job.priority,
                resources={name: _asked(job, name) for name in free},
            )
            for job in sorted(jobs, key=lambda job: job.jobid)
        ]

    def _estimate(self) -> None:
        """Expected run times and tails, anew where jobs have ended and were measured."""
        from snakemake_scheduler_plugin_gpu.tasks import tails

        jobs = set(self.dag.needrun_jobs())
        if jobs == self._unfinished:
            return
        self._jobs.update(dict.fromkeys(jobs))
        self._durations = durations(list(self._jobs), self._measured)
        needs = {
            job: [other for other in self.dag.job_dependencies(job) if other in self._jobs]
            for job in self._jobs
        }
        self._tails = tails(self._durations, needs)
        self._unfinished = jobs

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.logger.warning(text)


def durations(jobs: Sequence[Job], measured: dict[Job, float]) -> dict[Job, float]:
    """Expected seconds of each job; `measured` collects what benchmark files say."""
    from snakemake_scheduler_plugin_gpu.choice import UnsureError
    from snakemake_scheduler_plugin_gpu.tasks import measured_s

    # Only files of jobs that have not been looked up successfully are read again.
    for job in jobs:
        if job not in measured and job.benchmark is not None:
            seconds = measured_s(Path(job.benchmark))
            if seconds is not None:
                measured[job] = seconds
    by_rule: dict[str, list[float]] = {}
    for job in jobs:
        if job in measured:
            by_rule.setdefault(job.rule.name, []).append(measured[job])
    result = {}
    for job in jobs:
        alike = by_rule.get(job.rule.name)
        declared = job.scheduler_resources.get("runtime")
        if job in measured:
            result[job] = measured[job]
        elif alike:
            result[job] = sum(alike) / len(alike)
        elif isinstance(declared, int | float):
            result[job] = declared * 60.0
        elif job.is_norun:
            result[job] = 0.0
        else:
            raise UnsureError(f"rule {job.rule.name} declares no runtime and was never measured")
    return result


def _asked(job: Job, name: str) -> int:
    amount = job.scheduler_resources.get(name, 0)
    return amount if isinstance(amount, int) else 0

"""`snakemake --scheduler gpu`: a scheduler that knows run times and keeps GPUs for wide jobs.

Snakemake imports this package because of its name, and asks `Scheduler` which of the ready jobs
are to start whenever one has ended. `run_times` tells how long jobs are expected to run, and
`choice` chooses among them. Where one of the two cannot tell, Snakemake's greedy scheduler
chooses instead, and the log says why.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from snakemake_interface_scheduler_plugins.base import SchedulerBase

from snakemake_scheduler_plugin_gpu import choice
from snakemake_scheduler_plugin_gpu.run_times import (
    UnknownRunTimeError,
    durations,
    measure,
    tails,
)

Job = Any
"""A job of Snakemake. The interface's own class lacks the rule's name."""

MIN_LEFT_S = 1.0
"""What is assumed to be left of a job that has already run longer than expected."""


class Scheduler(SchedulerBase):
    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __post_init__(self) -> None:
        self._num_gpus: int | None = None  # of the whole run, as the first call finds them
        self._started_s: dict[Job, float] = {}  # of the jobs at work
        self._last_offer: tuple[set[Job], float] = (set(), 0.0)  # the ready jobs, and when
        self._jobs: dict[Job, None] = {}  # every job that was ever seen, in order
        self._measured: dict[Job, float] = {}
        self._num_measured: Counter[str] = Counter()  # jobs of each rule
        self._num_estimated: Counter[str] = Counter()  # as many as the estimates are made from
        self._is_estimated = False
        self._durations: dict[Job, float] = {}
        self._tails: dict[Job, float] = {}
        self._candidates: dict[Job, choice.Candidate] = {}
        self._warned: set[str] = set()

    def select_jobs(
        self,
        selectable_jobs: Sequence[Job],
        remaining_jobs: Sequence[Job],
        available_resources: Mapping[str, int | str],
        input_sizes: Mapping[Any, int],
    ) -> Sequence[Job] | None:
        """The jobs to start now; None leaves the choice to the greedy scheduler."""
        free = {name: int(amount) for name, amount in available_resources.items()}
        now_s = self.clock()
        ended = self._note_started(remaining_jobs)
        self._last_offer = set(selectable_jobs), now_s
        try:
            self._estimate(remaining_jobs, ended)
            candidates = self._ready(selectable_jobs, free)
            selected: Sequence[Any] = choice.choose(candidates, self._running(free, now_s), free)
            if not selected and not self._started_s:
                raise choice.NoChoiceError("no job fits the free resources")
        except (choice.NoChoiceError, UnknownRunTimeError) as error:
            text = f"gpu scheduler: {error}; the greedy scheduler chooses instead"
            if text not in self._warned:
                self._warned.add(text)
                self.logger.warning(text)
            return None
        return selected

    def _note_started(self, remaining: Sequence[Job]) -> list[Job]:
        """Bring `_started_s` up to date, and tell which jobs have ended.

        Whoever chose them, the jobs of the last offer that no longer wait have started then. One
        that waits again is tried once more, perhaps with more resources.
        """
        waiting = set(remaining)
        offered, then_s = self._last_offer
        for job in self._started_s.keys() & waiting:
            del self._started_s[job]
            self._candidates.pop(job, None)
        self._started_s = dict.fromkeys(offered - waiting, then_s) | self._started_s
        ended = [job for job in self._started_s if self.dag.finished(job)]
        for job in ended:
            del self._started_s[job]
        return ended

    def _running(self, free: Mapping[str, int], now_s: float) -> list[choice.Running] | None:
        """The jobs at work; None where they do not add up to the GPUs in use.

        They do not after a job has failed for good, which nobody tells a scheduler.
        """
        running = [
            choice.Running(
                max(started_s + self._durations[job] - now_s, MIN_LEFT_S),
                {name: _asked(job, name) for name in choice.RESERVED},
            )
            for job, started_s in self._started_s.items()
        ]
        if choice.GPU not in free:
            return running
        if self._num_gpus is None:
            self._num_gpus = free[choice.GPU]
        in_use = sum(item.resources[choice.GPU] for item in running)
        return running if in_use == self._num_gpus - free[choice.GPU] else None

    def _ready(self, jobs: Sequence[Job], free: Mapping[str, int]) -> list[choice.Candidate]:
        for job in jobs:
            if job not in self._candidates:
                self._candidates[job] = choice.Candidate(
                    key=job,
                    duration_s=self._durations[job],
                    tail_s=self._tails[job],
                    priority=job.priority,
                    resources={name: _asked(job, name) for name in free},
                )
        return [self._candidates[job] for job in sorted(jobs, key=lambda job: job.jobid)]

    def _estimate(self, remaining: Sequence[Job], ended: Sequence[Job]) -> None:
        """Estimate durations and tails where more is known than before.

        That is where there are new jobs, and where twice as many jobs of a rule are measured as the
        estimates are made from, so that all jobs together are not looked at whenever one has ended.
        """
        if any(job not in self._jobs for job in remaining):
            self._is_estimated = False
            self._jobs.update(dict.fromkeys(self.dag.needrun_jobs()))
            ended = list(self._jobs)
        for job in measure(ended, self._measured):
            rule = job.rule.name
            self._num_measured[rule] += 1
            self._is_estimated &= self._num_measured[rule] < 2 * self._num_estimated[rule]
        if self._is_estimated:
            return
        self._durations = durations(self._jobs, self._measured)
        needs = {
            job: [other for other in self.dag.job_dependencies(job) if other in self._jobs]
            for job in self._jobs
        }
        self._tails = tails(self._durations, needs)
        self._candidates.clear()
        self._num_estimated, self._is_estimated = self._num_measured.copy(), True


def _asked(job: Job, name: str) -> int:
    amount = job.scheduler_resources.get(name, 0)
    return amount if isinstance(amount, int) else 0

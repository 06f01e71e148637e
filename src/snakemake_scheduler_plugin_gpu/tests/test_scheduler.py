"""The choice of jobs by GPUs and run times, and the scheduler in Snakemake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import snakemake_scheduler_plugin_gpu as plugin
from snakemake_scheduler_plugin_gpu import Scheduler, choice, run_times
from snakemake_scheduler_plugin_gpu.choice import (
    Candidate,
    NoChoiceError,
    Running,
    choose,
    reserve,
)
from snakemake_scheduler_plugin_gpu.run_times import measured_s, tails

PACKAGE = Path(choice.__file__).parent


def job(name: str, gpus: int, duration_s: float, tail_s: float = 0.0, cores: int = 1) -> Candidate:
    resources = {"gpu": gpus, "_cores": cores}
    return Candidate(name, duration_s, tail_s or duration_s, 0, resources)


def holding(gpus: int, left_s: float, cores: int = 1) -> Running:
    return Running(left_s, {"gpu": gpus, "_cores": cores})


# ---- the choice ------------------------------------------------------------------------


def test_the_critical_path_goes_first() -> None:
    ready = [job("short", 1, 60, 60), job("long", 1, 60, 600), job("middle", 1, 60, 300)]
    assert choose(ready, [], {"gpu": 2, "_cores": 8}) == ["long", "middle"]


def test_more_gpus_in_use_go_before_urgency() -> None:
    ready = [job("urgent", 1, 60, 600), job("three", 3, 60, 60), job("four", 4, 60, 60)]
    assert choose(ready, [], {"gpu": 4, "_cores": 8}) == ["urgent", "three"]


def test_priority_goes_before_everything() -> None:
    wanted = Candidate("wanted", 60, 60, 1, {"gpu": 1, "_cores": 1})
    assert choose([job("eight", 8, 60, 900), wanted], [], {"gpu": 8, "_cores": 8}) == ["wanted"]


def test_devices_are_kept_for_a_waiting_job_of_many_gpus() -> None:
    ready = [job("four", 4, 100, 500), job("longer", 1, 61, 61), job("fits", 1, 60, 60)]
    running = [holding(1, 30), holding(1, 60), holding(1, 45)]
    kept = reserve(ready, running, {"gpu": 1, "_cores": 8})
    assert kept is not None
    assert (kept.key, kept.start_s, kept.spare["gpu"]) == ("four", 60, 0)
    assert choose(ready, running, {"gpu": 1, "_cores": 8}) == ["fits"]
    beside = [job("three", 3, 100, 500), job("long", 1, 99, 300), job("other", 1, 99, 99)]
    assert choose(beside, [holding(2, 60)], {"gpu": 2, "_cores": 8}) == ["long"], "one is spare"


def test_cores_are_kept_for_a_waiting_job_as_well() -> None:
    ready = [job("wide", 2, 100, 500, cores=8), job("long", 1, 99, cores=4), job("cpu", 0, 99)]
    running = [holding(0, 50, cores=6)]
    assert choose(ready, running, {"gpu": 4, "_cores": 5}) == ["cpu"], "1 of 11 cores is spare"
    roomy = [holding(0, 50, cores=12)]
    assert set(choose(ready, roomy, {"gpu": 4, "_cores": 5})) == {"long", "cpu"}


def test_where_it_is_unclear_what_runs_gpus_are_kept_for_the_waiting_job() -> None:
    ready = [job("four", 4, 100), job("one", 1, 1), job("cpu", 0, 100)]
    assert choose(ready, None, {"gpu": 1, "_cores": 8}) == ["cpu"]
    assert "four" in choose(ready, None, {"gpu": 4, "_cores": 8})
    assert choose([job("one", 1, 100)], None, {"gpu": 1, "_cores": 8}) == ["one"]


def no_solver(*args: object, **options: object) -> None:
    raise choice.pulp.PulpSolverError("no solver")


def test_a_failing_solver_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice.pulp.LpProblem, "solve", no_solver)
    with pytest.raises(NoChoiceError, match="no solver"):
        choose([job("a", 1, 9), job("b", 1, 9, cores=2)], [], {"gpu": 1, "_cores": 8})


def test_equal_shapes_need_no_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice.pulp.LpProblem, "solve", no_solver)
    ready = [*(job(f"one {tail}", 1, 60, tail) for tail in range(60, 90)), job("cpu", 0, 60)]
    chosen = choose(ready, [], {"gpu": 2, "_cores": 8})
    assert sorted(map(str, chosen)) == ["cpu", "one 88", "one 89"]


# ---- times -----------------------------------------------------------------------------


def test_tails_run_along_the_longest_path() -> None:
    needs = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    durations = {"a": 1.0, "b": 5.0, "c": 2.0, "d": 1.0}
    assert tails(durations, needs) == {"a": 7.0, "b": 6.0, "c": 3.0, "d": 1.0}


def test_a_benchmark_file_is_a_run_time(tmp_path: Path) -> None:
    path = tmp_path / "b.tsv"
    assert measured_s(path) is None
    path.write_text("s\th:m:s\n1.5\t0:00:01\n2.5\t0:00:02\n")
    assert measured_s(path) == 2.0
    path.write_text("s\th:m:s\n-\t-\n")
    assert measured_s(path) is None


# ---- the plugin ------------------------------------------------------------------------


class Job:
    """What the plugin asks of a job of Snakemake."""

    benchmark, priority, is_norun = None, 0, False

    def __init__(self, jobid: int, name: str, gpus: int, duration_s: float) -> None:
        self.jobid, self.name, self.rule = jobid, name, SimpleNamespace(name=name)
        self.scheduler_resources = {"gpu": gpus, "_cores": 1, "runtime": duration_s / 60}
        self.resources = self.scheduler_resources


class Dag:
    """What it asks of the workflow: jobs that need nothing of each other."""

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.ended: set[str] = set()

    def needrun_jobs(self) -> list[Job]:
        return self.jobs

    def job_dependencies(self, job: Job) -> list[Job]:
        return []

    def finished(self, job: Job) -> bool:
        return job.name in self.ended


class Session:
    """The plugin on three pretended GPUs, with a clock that stands still unless it is set."""

    def __init__(self) -> None:
        jobs = [Job(i, f"one {i}", 1, 60 * (i + 1)) for i in range(3)]
        self.dag = Dag([*jobs, Job(3, "two", 2, 600)])
        self.warnings: list[str] = []
        self.scheduler = Scheduler(self.dag, None, SimpleNamespace(warning=self.warnings.append))
        self.now_s = 0.0
        self.scheduler.clock = lambda: self.now_s  # type: ignore[method-assign]

    def select(self, ready: str, remaining: str, gpus: int) -> list[str] | None:
        """Names of the chosen jobs; jobs are named by their place, such as `02`."""
        jobs = self.dag.jobs
        free = {"gpu": gpus, "_cores": 8, "_job_count": 99}
        offered, left = ([jobs[int(place)] for place in places] for places in (ready, remaining))
        chosen = self.scheduler.select_jobs(offered, left, free, {})
        return None if chosen is None else [job.name for job in chosen]


def test_a_reservation_knows_jobs_that_another_scheduler_started() -> None:
    session = Session()
    session.select("12", "0123", 3)
    # Of the two offered, only the second was started, at 0 s and for 180 s.
    session.now_s = 100.0
    assert session.select("01", "013", 2) == ["one 1", "one 0"]
    session.now_s = 110.0
    session.dag.ended.add("one 0")
    assert session.select("3", "3", 1) == [], "kept until the third job ends"
    assert session.warnings == []


def test_gpus_are_kept_for_a_waiting_job_after_another_failed() -> None:
    session = Session()
    assert session.select("012", "0123", 3) == ["one 2", "one 1", "one 0"]
    assert session.select("3", "3", 0) == [], "three run, none is free"
    # One of them failed for good: it neither runs nor remains, and its GPU is free.
    assert session.select("3", "3", 1) == []
    assert session.select("3", "3", 2) == ["two"]
    assert session.warnings == []


def test_all_jobs_are_estimated_again_only_where_more_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            calls.append(function.__name__)
            return function(*arguments)

        return counted

    monkeypatch.setattr(run_times, "measured_s", counting(measured_s))
    monkeypatch.setattr(plugin, "tails", counting(tails))
    jobs = [Job(number, f"job {number}", 1, 60) for number in range(64)]
    for job in jobs:
        job.rule, job.benchmark = SimpleNamespace(name="rule"), tmp_path / f"{job.jobid}.tsv"
    dag = Dag(jobs)
    scheduler = Scheduler(dag, None, SimpleNamespace(warning=print))
    for job in jobs:
        left = jobs[job.jobid :]
        (chosen,) = scheduler.select_jobs(left, left, {"gpu": 1, "_cores": 1}, {})
        assert chosen is job
        job.benchmark.write_text(f"s\n{30 + job.jobid}\n")
        dag.ended.add(job.name)
    assert calls.count("measured_s") <= 64 + 63, "each once at first and once when it has ended"
    assert calls.count("tails") == 7, "at first, and when 1, 2, 4, 8, 16, 32 jobs were measured"
    assert scheduler._durations[jobs[63]] == sum(range(30, 62)) / 32


# ---- in Snakemake ----------------------------------------------------------------------

SNAKEFILE = """
rule all:
    input: expand("short{i}", i=range(8)), "wide"

rule short:
    output: "short{i}"
    resources: gpu=1, RUNTIME
    shell: "date +%s.%N > {output}; sleep 1"

rule first:
    output: "first"
    resources: runtime=1
    shell: "touch {output}"

rule wide:
    input: "first"
    output: "wide"
    resources: gpu=2, runtime=9
    shell: "date +%s.%N > {output}; sleep 1"
"""


@pytest.mark.parametrize("declared", [True, False])
def test_snakemake_finds_the_scheduler_and_it_says_when_it_is_unsure(
    tmp_path: Path, declared: bool
) -> None:
    text = SNAKEFILE.replace("RUNTIME", "runtime=1" if declared else "mem_mb=1")
    (tmp_path / "Snakefile").write_text(text)
    command = [sys.executable, "-m", "snakemake", "--scheduler", "gpu", "--cores", "4"]
    result = subprocess.run(
        [*command, "--resources", "gpu=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
    )
    assert result.returncode == 0, result.stderr
    unsure = "gpu scheduler: rule short declares no runtime and was never measured"
    assert (unsure in result.stderr) is not declared
    starts = {path.name: float(path.read_text()) for path in tmp_path.glob("[sw]*[e0-9]")}
    later = sum(start > starts["wide"] for start in starts.values())
    if declared:
        assert later >= 5, f"the job of two GPUs was not last: {starts}"

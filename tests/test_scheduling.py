"""The choice of jobs by GPUs and run times, simulated runs, and the scheduler in Snakemake."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from snakemake_scheduler_plugin_gpu import Scheduler, choice
from snakemake_scheduler_plugin_gpu.choice import (
    Candidate,
    NoChoiceError,
    Running,
    choose,
    reserve,
)
from snakemake_scheduler_plugin_gpu.run_times import measured_s, tails
from support.repository import ROOT
from vovnet import cli
from vovnet.commands.plan.runs import PretendedDag, rehearse
from vovnet.commands.plan.schedules import BY_HAND, GREEDY, ILP, OURS, compare, pack_by_hand
from vovnet.commands.plan.tasks import Task, in_order, load_suite, lower_bound_s, makespan_s
from vovnet.core.errors import VovnetError

runs_snakemakes_ilp = pytest.mark.filterwarnings(
    # It constructs variables and solver as PuLP 3 did; Snakemake asks for a PuLP before 4.
    "ignore:Constructing LpVariable:DeprecationWarning",
    "ignore:PULP_CBC_CMD is deprecated:DeprecationWarning",
)


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


# ---- whole runs ------------------------------------------------------------------------


def small_suite() -> list[Task]:
    """Two trainings of four GPUs, the second ready late, beside a stream of short jobs."""
    short = [Task(f"observe {i}", "observe", f"observe {i}", 1, 1, 600) for i in range(16)]
    return in_order(
        [
            *short,
            Task("prepare", "prepare", "prepare", 0, 1, 300),
            Task("train", "train_stage1", "train", 4, 4, 1800, ("prepare",)),
            Task("figures", "figures", "figures", 0, 1, 1200, ("train",)),
        ]
    )


def check_spans(spans: list, tasks: list[Task], gpus: int) -> None:
    """Every job once, after its needs, on as many devices as it asks for, none held twice."""
    assert sorted(span.task.name for span in spans) == sorted(task.name for task in tasks)
    ends = {span.task.name: span.end_s for span in spans}
    for span in spans:
        assert all(ends[name] <= span.start_s for name in span.task.needs)
        assert len(set(span.devices)) == span.task.gpus
    for device in range(gpus):
        held = sorted((span.start_s, span.end_s) for span in spans if device in span.devices)
        assert all(first[1] <= second[0] for first, second in pairwise(held))


@runs_snakemakes_ilp
def test_a_late_job_of_many_gpus_is_not_starved() -> None:
    tasks = small_suite()
    schedules = {item.name: item for item in compare(tasks, 4, 16)}
    for item in schedules.values():
        check_spans(item.spans, tasks, 4)
    starts = {span.task.name: span.start_s for span in schedules[OURS].spans}
    assert starts["train"] == 600, "as soon as the first four jobs have ended"
    for name in ("ilp", "greedy", BY_HAND):
        assert schedules[OURS].longest_s < schedules[name].shortest_s, name


def test_the_packing_by_hand_runs_the_shards_of_a_command_on_one_device() -> None:
    shards = [
        Task(f"observe {name} {part}", "observe", f"observe {name}", 1, 1, 60, ("train",))
        for name in ("a", "b")
        for part in range(3)
    ]
    train = Task("train", "train_stage1", "train", 8, 8, 600)
    later = Task("train again", "train_stage2", "train again", 8, 8, 600, ("train",))
    spans = pack_by_hand(in_order([train, later, *shards]), 8)
    check_spans(spans, [train, later, *shards], 8)
    devices = {span.task.unit: span.devices for span in spans}
    assert devices["observe a"] == (0,)
    assert devices["observe b"] == (1,)
    assert makespan_s(spans) == 600 + 3 * 60 + 600


@runs_snakemakes_ilp
def test_the_real_suite_is_near_the_lower_bound_and_ahead_of_the_others() -> None:
    """By the packaged measurement it takes at most 120 GPU-hours."""
    tasks = load_suite(["all"], [ROOT / "config/paper.yaml"], everything=True).tasks
    assert 100 < sum(task.gpu_hours for task in tasks) <= 120
    assert all(task.known_from == "estimated" for task in tasks)
    schedules = {item.name: item for item in compare(tasks, 8, 128)}
    for item in schedules.values():
        check_spans(item.spans, tasks, 8)
    ours = schedules.pop(OURS)
    assert ours.longest_s <= 1.10 * lower_bound_s(tasks, 8)
    for name, other in schedules.items():
        assert ours.longest_s < other.shortest_s, name


# ---- rehearsals ------------------------------------------------------------------------


def test_a_rehearsal_runs_every_job_on_devices_of_its_own() -> None:
    tasks = small_suite()
    (spans,) = rehearse(tasks, [OURS], 4, 16, seconds=3)
    check_spans(spans, tasks, 4)
    assert makespan_s(spans) >= lower_bound_s(tasks, 4)
    assert all(span.end_s - span.start_s >= span.task.duration_s * 0.99 for span in spans)


def test_a_rehearsal_that_fails_says_why() -> None:
    with pytest.raises(VovnetError, match=r"under nobody failed:[\s\S]*invalid choice: 'nobody'"):
        rehearse(small_suite(), ["nobody"], 4, 16, seconds=1)


# ---- `vovnet plan` ---------------------------------------------------------------------


@runs_snakemakes_ilp
def test_a_plan_says_what_a_suite_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    overlay = tmp_path / "small.yaml"
    overlay.write_text(
        "resources: {observe: {gpu: 1}, train: {gpu: 1}}\n"
        "plan: {start_s: 3600, price_per_gpu_hour: 2}\n"
    )
    arguments = ["mvp", "--configfile", "config/test.yaml", "--configfile", str(overlay)]
    arguments += ["--all_jobs", "--gpus", "2", "--rehearse", "2"]
    arguments += ["--output", str(tmp_path / "plan")]
    assert cli.main(["plan", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    # An hour passes before each job begins; what the tiny model computes is next to nothing.
    assert lines[0].split()[1:] == ["jobs,", "16.0", "GPU-hours,", "cost", "32.00"]
    with (tmp_path / "plan/stages.csv").open() as file:
        stages = {row["stage"]: row for row in csv.DictReader(file)}
    assert stages["observe"]["jobs"] == "12"
    assert float(stages["observe"]["gpu_hours"]) == pytest.approx(12, abs=0.01)
    assert float(stages["train_stage1"]["gpu_hours"]) == pytest.approx(2, abs=0.01)
    with (tmp_path / "plan/subset.csv").open() as file:
        hours = [float(row["gpu_hours"]) for row in csv.DictReader(file)]
    assert hours == pytest.approx([8, 6], abs=0.01)
    for prefix in ("", "rehearsed_"):
        with (tmp_path / f"plan/{prefix}schedules.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["scheduler"] for row in rows] == [OURS, ILP, GREEDY, BY_HAND]
        assert all(float(row["times_lower_bound"]) > 0.999 for row in rows)
        assert (tmp_path / f"plan/{prefix}gantt.png").read_bytes().startswith(b"\x89PNG")


def test_a_plan_for_too_few_gpus_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    arguments = ["all", "--configfile", "config/paper.yaml", "--gpus", "4"]
    assert cli.main(["plan", *arguments, "--output", str(tmp_path)]) == 2
    error = r"vovnet: error: train_stage\d \w+ \d: asks for 8 GPUs, but there are 4\n"
    assert re.fullmatch(error, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


# ---- the plugin ------------------------------------------------------------------------


class Session:
    """The plugin on three pretended GPUs, with a clock that stands still unless it is set."""

    def __init__(self) -> None:
        tasks = [Task(f"one {i}", "observe", f"one {i}", 1, 1, 60 * (i + 1)) for i in range(3)]
        tasks += [Task("two", "train_stage1", "two", 2, 1, 600)]
        self.dag = PretendedDag(tasks, 8)
        self.warnings: list[str] = []
        self.scheduler = Scheduler(self.dag, None, SimpleNamespace(warning=self.warnings.append))
        self.now_s = 0.0
        self.scheduler.clock = lambda: self.now_s  # type: ignore[method-assign]

    def select(self, ready: str, remaining: str, gpus: int) -> list[str] | None:
        """Names of the chosen jobs; jobs are named by their place, such as `02`."""
        jobs = list(self.dag.jobs.values())
        free = {"gpu": gpus, "_cores": 8, "_job_count": 99}
        offered, left = ([jobs[int(place)] for place in places] for places in (ready, remaining))
        chosen = self.scheduler.select_jobs(offered, left, free, {})
        return None if chosen is None else [job.task.name for job in chosen]


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
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert result.returncode == 0, result.stderr
    unsure = "gpu scheduler: rule short declares no runtime and was never measured"
    assert (unsure in result.stderr) is not declared
    starts = {path.name: float(path.read_text()) for path in tmp_path.glob("[sw]*[e0-9]")}
    later = sum(start > starts["wide"] for start in starts.values())
    if declared:
        assert later >= 5, f"the job of two GPUs was not last: {starts}"

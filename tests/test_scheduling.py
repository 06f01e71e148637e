"""Simulated runs under each scheduler, rehearsals, and `vovnet plan`."""

from __future__ import annotations

import csv
import re
from itertools import pairwise
from pathlib import Path

import pytest

from support.repository import ROOT
from vovnet import cli
from vovnet.commands.plan.runs import rehearse
from vovnet.commands.plan.schedules import BY_HAND, GREEDY, ILP, OURS, compare, pack_by_hand
from vovnet.commands.plan.tasks import Task, in_order, load_suite, lower_bound_s, makespan_s
from vovnet.core.errors import VovnetError

runs_snakemakes_ilp = pytest.mark.filterwarnings(
    # It constructs variables and solver as PuLP 3 did; Snakemake asks for a PuLP before 4.
    "ignore:Constructing LpVariable:DeprecationWarning",
    "ignore:PULP_CBC_CMD is deprecated:DeprecationWarning",
)


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


def test_many_jobs_are_simulated_without_the_schedulers_that_take_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vovnet.commands.plan.schedules.MANY_TASKS", 5)
    found = compare(small_suite(), 4, 16)
    assert {item.name: len(item.runs) for item in found} == {OURS: 1, BY_HAND: 1}


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
def test_the_real_suite_is_near_the_lower_bound_and_behind_no_other() -> None:
    """By the packaged measurement it takes at most 120 GPU-hours."""
    tasks = load_suite(["all"], [ROOT / "config/paper.yaml"], everything=True).tasks
    assert 80 < sum(task.gpu_hours for task in tasks) <= 120
    assert all(task.known_from == "estimated" for task in tasks)
    schedules = {item.name: item for item in compare(tasks, 8, 128)}
    for item in schedules.values():
        check_spans(item.spans, tasks, 8)
    ours = schedules.pop(OURS)
    assert ours.longest_s <= 1.10 * lower_bound_s(tasks, 8)
    # Two trainings of four GPUs fill eight, so that any order of them does; not so one by hand.
    for name, other in schedules.items():
        assert ours.longest_s < 1.001 * other.shortest_s, name
    assert ours.longest_s < schedules[BY_HAND].shortest_s


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
    arguments = ["all", "--configfile", "config/paper.yaml", "--gpus", "2"]
    assert cli.main(["plan", *arguments, "--output", str(tmp_path)]) == 2
    error = r"vovnet: error: train_stage\d \w+ \d: asks for 4 GPUs, but there are 2\n"
    assert re.fullmatch(error, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())

"""The whole DAG on a real Slurm: `make test-slurm`. Installs Slurm where it may.

One undisturbed run is held against Slurm's own records; a second one, which begins with its
prepared data, is disturbed by a cancelled job, a drained node and a killed Snakemake, and must
leave the same bytes. Last come jobs that fail, and jobs that reach a limit, side by side.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from support.debian import MissingError
from support.projects import contents, copy_project
from support.repository import ROOT
from support.slurm import (
    NUM_GPUS,
    QueuedJob,
    SlurmJob,
    cancel,
    queued_jobs,
    recorded_jobs,
    set_node,
    slurm_cluster,
)
from support.slurm_suite import NUM_PROCESSES, write_small_suite

RESULTS = "results/test"
SNAKEMAKE = ROOT / "tests/support/attentive_snakemake.py"
RUN_LIMIT_S = 900
MADE_OF_DATA = ("runs", "observations", "eval", "paper")
TRAINING = {"train_stage1", "train_stage2"}
GPU_RULE, ALONE_RULE = "observe", "live"
"""The second asks for its node alone (`--exclusive`), and so gets all of its devices."""

T = TypeVar("T")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "VOVNET_TEST_SLURM" not in os.environ, reason="installs Slurm: run `make test-slurm`"
    ),
]


class Project:
    """A copy of the project, in which Snakemake is called as on a cluster."""

    def __init__(self, folder: Path, like: Project | None = None) -> None:
        """A new project, or a copy of one that has the same suite, with its results."""
        self.folder = folder
        if like is None:
            copy_project(folder)
            write_small_suite(folder / "config/test.yaml")
        else:
            no_logs = shutil.ignore_patterns("output.log", "slurm_logs")
            shutil.copytree(like.folder, folder, symlinks=True, ignore=no_logs)

    def start(self, target: str = "all", *configfiles: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(SNAKEMAKE), "--profile", "slurm", target]
        command += ["--configfile", "config/test.yaml", *configfiles]
        command += ["--seconds-between-status-checks", "1", "--latency-wait", "20"]
        command += ["--slurm-init-seconds-before-status-checks", "1"]
        with (self.folder / "output.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(self.folder / "src"), "OMP_NUM_THREADS": "1"},
            )

    def finish(self, process: subprocess.Popen[bytes] | None = None) -> str:
        """Run to the end; returns what was said meanwhile."""
        before = len(self.output)
        process = process or self.start()
        try:
            assert process.wait(RUN_LIMIT_S) == 0, self.output[-6000:]
        finally:
            end(process)
        return self.output[before:]

    @property
    def output(self) -> str:
        path = self.folder / "output.log"
        return path.read_text() if path.exists() else ""


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running cluster."""
    folder = tmp_path_factory.mktemp("slurm")
    try:
        with slurm_cluster(folder):
            yield folder
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def project(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which the whole DAG has run undisturbed."""
    project = Project(tmp_path_factory.mktemp("undisturbed"))
    project.finish()
    return project


@pytest.fixture(scope="module")
def finished(cluster: Path, project: Project) -> list[SlurmJob]:
    """Slurm's records of the undisturbed run."""
    return jobs_of(project, cluster)


def jobs_of(project: Project, cluster: Path) -> list[SlurmJob]:
    return [job for job in recorded_jobs(cluster) if job.folder == project.folder]


def test_eight_jobs_of_one_gpu_run_side_by_side_on_different_devices(
    finished: list[SlurmJob],
) -> None:
    single = [job for job in finished if job.rule == GPU_RULE]
    assert all(len(job.devices) == 1 for job in single)
    most = max(({job.devices for job in _beside(single, one)} for one in single), key=len)
    times = [f"{job.rule} {job.start:%X} {job.end:%X} {job.devices}" for job in finished]
    assert most == {(number,) for number in range(NUM_GPUS)}, "\n".join(times)


def _beside(jobs: list[SlurmJob], one: SlurmJob) -> list[SlurmJob]:
    """The jobs that were running in the second after `one` began."""
    return [job for job in jobs if job.start <= one.start < job.end]


def test_no_device_was_given_to_two_jobs_at_once(finished: list[SlurmJob]) -> None:
    for one in finished:
        devices = [device for job in _beside(finished, one) for device in job.devices]
        assert len(devices) == len(set(devices))


def test_every_job_got_the_devices_it_declared_and_ended_well(finished: list[SlurmJob]) -> None:
    """Training of several processes has that many devices, in one job; a timed run has all."""
    declared = dict.fromkeys(TRAINING, NUM_PROCESSES) | {GPU_RULE: 1, ALONE_RULE: NUM_GPUS}
    for job in finished:
        assert job.state == "COMPLETED", job
        assert len(job.devices) == declared.get(job.rule, 0), job
    assert {*declared, "prepare", "evaluate"} <= {job.rule for job in finished}
    assert [job.rule for job in finished if job.rule in TRAINING] == [
        "train_stage1",
        "train_stage2",
    ]


def test_a_second_call_runs_nothing(
    finished: list[SlurmJob], cluster: Path, project: Project
) -> None:
    assert "Nothing to be done" in project.finish()
    assert len(jobs_of(project, cluster)) == len(finished)


def test_a_cancelled_job_a_drained_node_and_a_killed_snakemake_change_no_byte(
    finished: list[SlurmJob], cluster: Path, project: Project, tmp_path: Path
) -> None:
    disturbed = Project(tmp_path / "disturbed", project)
    for made in MADE_OF_DATA:
        shutil.rmtree(disturbed.folder / RESULTS / made)
    dice = random.Random(5)
    process = disturbed.start()

    cancel(dice.choice(wait_for(lambda: running(TRAINING), process, disturbed)))
    set_node("drain")
    before = {job.number for job in running()}
    wait_for(lambda: in_state("PENDING"), process, disturbed)
    time.sleep(5)
    assert {job.number for job in running()} <= before, "nothing starts on a drained node"
    set_node("resume")

    observing = wait_for(lambda: at_least(3, running({"observe"})), process, disturbed)
    cancel(dice.choice(observing))
    # What waits for the node is still there when Snakemake is called again.
    set_node("drain")
    wait_for(lambda: in_state("PENDING"), process, disturbed)
    process.kill()
    process.wait()
    refused = disturbed.start()
    assert refused.wait(RUN_LIMIT_S) == 1, disturbed.output[-6000:]
    refusal = r"^vovnet: error: .* still at work there: `(scancel .*)` ends them$"
    (advice,) = re.findall(refusal, disturbed.output, re.MULTILINE)
    assert in_state("PENDING"), "they were left alone"
    subprocess.run(advice.split(), check=True)
    wait_for(lambda: not queued_jobs(), None, disturbed)
    set_node("resume")
    disturbed.finish()

    assert "Nothing to be done" in disturbed.finish()
    states = [job.state for job in jobs_of(disturbed, cluster)]
    assert states.count("CANCELLED") >= 2
    expected, found = (contents(item.folder / RESULTS) for item in (project, disturbed))
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


# ---- limits and failures ---------------------------------------------------------------

MMMU, TEXTVQA = (
    f"results/test/data/{name}.jsonl" for name in ("synth_mmmu/validation", "synth_textvqa/val")
)
"""Each is made by two jobs, of which the first renders the dataset."""

EDITED = "results/test/raw/synth_textvqa/TextVQA_0.5.1_val.json"


@dataclass(frozen=True)
class Troubled:
    """Projects of which every job met trouble, or the first one did."""

    hungry: Project
    hanging: Project
    failing: Project


@pytest.fixture(scope="module")
def troubled(cluster: Path, project: Project, tmp_path_factory: pytest.TempPathFactory) -> Troubled:
    """They run side by side: a job meets its time limit after a minute and more."""
    folder = tmp_path_factory.mktemp("troubled")
    hungry, hanging = (Project(folder / name) for name in ("hungry", "hanging"))
    failing = Project(folder / "failing", project)
    limit(hanging, "mem_mb: 1000, runtime_min: 1, retry_factor: 3")
    limit(hungry, "mem_mb: 50, runtime_min: 2, retry_factor: 20")
    (failing.folder / EDITED).write_bytes(b"no json")
    with ExitStack() as stack:
        hangs = hanging.start(MMMU, "limits.yaml")
        stack.callback(end, hangs)
        wait_for(lambda: stopped("synthesize", hanging), hangs, hanging)
        fails = failing.start(TEXTVQA)
        stack.callback(end, fails)
        hungry.finish(hungry.start(MMMU, "limits.yaml"))
        assert fails.wait(RUN_LIMIT_S) == 1, failing.output[-6000:]
        hanging.finish(hangs)
    return Troubled(hungry, hanging, failing)


def limit(project: Project, limits: str) -> None:
    """Lay limits of the jobs without GPUs over a project's configuration."""
    (project.folder / "limits.yaml").write_text(f"resources: {{light: {{{limits}}}}}\n")


def stopped(command: str, project: Project) -> bool:
    """Whether a process of a `vovnet` command of a project was found, and halted."""
    for process in psutil.process_iter():
        try:
            named = process.cmdline()[1:4] == ["-m", "vovnet", command]
            if named and Path(process.cwd()) == project.folder:
                process.suspend()
                return True
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return False


def attempts(project: Project, cluster: Path) -> list[tuple[str, str, str, str]]:
    """Rule, state and limits of a project's jobs."""
    jobs = jobs_of(project, cluster)
    return [(job.rule, job.state, job.memory, job.time_limit) for job in jobs]


def test_jobs_out_of_memory_are_tried_again_with_more(cluster: Path, troubled: Troubled) -> None:
    project = troubled.hungry
    first, second = ("50M", "00:02:00"), ("1000M", "00:40:00")
    rules = ("synthesize_synth_mmmu", "prepare")
    assert attempts(project, cluster) == [
        (rule, *rest) for rule in rules for rest in (("FAILED", *first), ("COMPLETED", *second))
    ]
    killed = [path.read_text() for path in project.folder.glob("results/slurm_logs/**/*.log")]
    assert len([text for text in killed if "Exceeded job memory limit" in text]) == len(rules)
    assert (project.folder / MMMU).stat().st_size > 0


def test_a_job_that_hangs_meets_its_time_limit_and_is_tried_again(
    cluster: Path, troubled: Troubled
) -> None:
    assert attempts(troubled.hanging, cluster) == [
        ("synthesize_synth_mmmu", "TIMEOUT", "1000M", "00:01:00"),
        ("synthesize_synth_mmmu", "COMPLETED", "3000M", "00:03:00"),
        ("prepare", "COMPLETED", "1000M", "00:01:00"),
    ]


def test_the_last_lines_of_a_failed_job_are_shown(troubled: Troubled) -> None:
    project = troubled.failing
    shown = re.findall(rf"^ *(vovnet: error: .*{EDITED}.*)$", project.output, re.MULTILINE)
    assert len(shown) == 2, "once per attempt"
    assert "Traceback" not in project.output
    assert not (project.folder / TEXTVQA).exists()


def in_state(state: str) -> list[QueuedJob]:
    return [job for job in queued_jobs() if job.state == state]


def running(rules: set[str] | None = None) -> list[QueuedJob]:
    """The running jobs of some rules, or all of them."""
    return [job for job in in_state("RUNNING") if rules is None or job.rule in rules]


def at_least(count: int, jobs: list[QueuedJob]) -> list[QueuedJob]:
    return jobs if len(jobs) >= count else []


def wait_for(
    moment: Callable[[], T], process: subprocess.Popen[bytes] | None, project: Project
) -> T:
    """What `moment` returns as soon as it is true, while Snakemake runs."""
    deadline = time.monotonic() + RUN_LIMIT_S
    while not (found := moment()):
        assert process is None or process.poll() is None, project.output[-6000:]
        assert time.monotonic() < deadline, project.output[-6000:]
        time.sleep(0.2)
    return found

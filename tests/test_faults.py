"""Faults on one machine: each ends in a clear line or a retry, and then in the same results."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.projects import copy_project

RESULTS = "results/it's $(a) & more"
"""A folder whose name the shell would take apart."""

DATA = Path(RESULTS) / "data"
SAMPLES = DATA / "synth_mmmu/validation.jsonl"


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
    )


def prepare(folder: Path) -> subprocess.Popen[str]:
    """Render a dataset and prepare its samples: two jobs."""
    place = ["--config", f"results_dir={RESULTS}"]
    return start(folder, str(SAMPLES), "--configfile", "config/test.yaml", *place)


def finish(folder: Path) -> bytes:
    process = prepare(folder)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return (folder / SAMPLES).read_bytes()


def job_of(process: subprocess.Popen[str], command: str) -> psutil.Process:
    """The process of a running `vovnet` command below Snakemake."""
    while process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                if child.cmdline()[1:4] == ["-m", "vovnet", command]:
                    return child
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.02)
    raise AssertionError(process.communicate()[0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What an undisturbed call leaves."""
    folder = tmp_path_factory.mktemp("whole")
    copy_project(folder)
    return finish(folder)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    copy_project(tmp_path / "project")
    return tmp_path / "project"


def test_a_killed_job_is_told_and_the_next_call_goes_on(project: Path, whole: bytes) -> None:
    process = prepare(project)
    job_of(process, "prepare").kill()
    output = process.communicate()[0]
    assert process.returncode == 1
    assert "Error in rule prepare" in output
    assert not (project / SAMPLES).exists()
    assert finish(project) == whole


def test_two_calls_at_once_do_not_meet(project: Path, whole: bytes) -> None:
    first = prepare(project)
    job = job_of(first, "synthesize")
    job.suspend()
    second = prepare(project)
    output = second.communicate()[0]
    job.resume()
    assert second.returncode == 1
    errors = [line for line in output.splitlines() if line.startswith("vovnet: error")]
    assert errors == [f"vovnet: error: {RESULTS}: another Snakemake run is at work there"]
    output = first.communicate()[0]
    assert first.returncode == 0, output
    assert (project / SAMPLES).read_bytes() == whole


@pytest.fixture
def small_disk(project: Path) -> Iterator[Path]:
    """The folder of prepared data on a disk of a few kilobytes."""
    folder = project / DATA
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    result = subprocess.run(["mount", *options], capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip(f"a small disk needs root: {result.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_one_line_in_the_terminal(
    small_disk: Path, project: Path, whole: bytes
) -> None:
    process = prepare(project)
    output = process.communicate()[0]
    assert process.returncode == 1
    errors = [line.strip() for line in output.splitlines() if "vovnet: error" in line]
    assert len(errors) == 1, "the last lines of the job's log are shown"
    assert errors[0].endswith("(make room, and call again)")
    assert "No space left on device" in errors[0]
    assert "Traceback" not in output
    left = [path for path in small_disk.rglob("*") if path.name.endswith((".partial", ".jsonl"))]
    assert left == [], "nothing is half written"
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert finish(project) == whole


HUNGRY = """
import sys
sys.path.insert(0, ".")
from workflow.plan import make_plan

plan = make_plan(config)

rule hungry:
    output: "fed"
    retries: 1
    resources:
        **plan.resources("light"),
    shell:
        "echo {resources.mem_mb} {resources.runtime} >> attempts;"
        " ulimit -v $(({resources.mem_mb} * 1024));"
        " python -S -c 'bytearray(300 * 2**20)' && touch {output}"
"""


def test_a_job_that_runs_out_of_memory_is_tried_again_with_more(project: Path) -> None:
    """Its limits are those that the rules of the project declare."""
    (project / "hungry.smk").write_text(HUNGRY)
    (project / "hungry.yaml").write_text(
        "resources: {light: {mem_mb: 200, runtime_min: 10, retry_factor: 3}}\n"
    )
    process = start(project, "--snakefile", "hungry.smk", "--configfile", "hungry.yaml")
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert "MemoryError" in output
    assert (project / "attempts").read_text() == "200 10\n600 30\n"

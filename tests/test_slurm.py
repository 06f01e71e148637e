"""The whole DAG on a real Slurm: `make test-slurm`. Installs Slurm where it may."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from slurm_cluster import NUM_GPUS, MissingError, SlurmJob, recorded_jobs, slurm_cluster

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ("Snakefile", "rules", "workflow", "config", "profiles", "slurm", "src", "envs")

OVERLAY = {
    "resources": {
        "train": {"gpu": 1, "mem_mb": 3000, "runtime_min": 30},
        "observe": {"gpu": 1, "mem_mb": 3000, "runtime_min": 30},
        "light": {"mem_mb": 1500, "runtime_min": 20},
    },
}
"""Every model on a declared GPU. A seed has four sets of two shards: eight jobs at once."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "VOVNET_TEST_SLURM" not in os.environ, reason="installs Slurm: run `make test-slurm`"
    ),
]


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
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name in PROJECT:
        source = ROOT / name
        if source.is_symlink() or source.is_file():
            shutil.copy2(source, folder / name, follow_symlinks=False)
        else:
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "overlay.yaml").write_text(yaml.safe_dump(OVERLAY))
    return folder


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", *arguments]
    command += ["--configfile", "config/test.yaml", "overlay.yaml"]
    command += ["--slurm-status-command", "squeue", "--seconds-between-status-checks", "3"]
    command += ["--slurm-init-seconds-before-status-checks", "3"]
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def finished(cluster: Path, project: Path) -> list[SlurmJob]:
    """Slurm's records after the whole DAG has run."""
    result = snakemake(project, "all")
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
    return recorded_jobs(cluster)


def test_eight_jobs_of_one_gpu_run_side_by_side_on_different_devices(
    finished: list[SlurmJob],
) -> None:
    observed = [job for job in finished if job.rule == "observe"]
    assert all(len(job.devices) == 1 for job in observed)
    most = max(({job.devices for job in _beside(observed, one)} for one in observed), key=len)
    assert most == {(number,) for number in range(NUM_GPUS)}


def _beside(jobs: list[SlurmJob], one: SlurmJob) -> list[SlurmJob]:
    """The jobs that were running in the second after `one` began."""
    return [job for job in jobs if job.start <= one.start < job.end]


def test_no_device_was_given_to_two_jobs_at_once(finished: list[SlurmJob]) -> None:
    for one in finished:
        devices = [device for job in _beside(finished, one) for device in job.devices]
        assert len(devices) == len(set(devices))


def test_every_job_got_the_devices_it_declared_and_ended_well(finished: list[SlurmJob]) -> None:
    for job in finished:
        assert job.state == "COMPLETED", job
        gpu_rules = {"train_stage1", "train_stage2", "observe", "live"}
        assert len(job.devices) == (1 if job.rule in gpu_rules else 0), job
    assert {"train_stage1", "train_stage2", "observe", "live", "evaluate"} <= {
        job.rule for job in finished
    }


def test_a_second_call_runs_nothing(finished: list[SlurmJob], cluster: Path, project: Path) -> None:
    result = snakemake(project, "all")
    assert result.returncode == 0, result.stderr
    assert "Nothing to be done" in result.stdout + result.stderr
    assert len(recorded_jobs(cluster)) == len(finished)

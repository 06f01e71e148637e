"""What `gpu-lease --record` writes of a command's GPUs, on a pretended driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

DRIVER = '''
import os
from types import SimpleNamespace

class NVMLError(Exception):
    pass

samples = 0

def nvmlInit():
    if "NO_DRIVER" in os.environ:
        raise NVMLError("driver not loaded")

def nvmlDeviceGetHandleByIndex(index):
    if index >= 4:
        raise NVMLError("no such device")
    return index

def nvmlDeviceGetHandleByUUID(uuid):
    return uuid

def nvmlDeviceGetName(handle):
    if "NO_NAME" in os.environ:
        raise NVMLError("not supported")
    return f"Pretended {handle}"

def nvmlDeviceGetMemoryInfo(handle):
    """Its use goes up and down again."""
    global samples
    samples += 1
    used = {5: 300, 6: 300}.get(samples, 100)
    return SimpleNamespace(total=1000 * 2**20, used=used * 2**20)

def nvmlDeviceGetUtilizationRates(handle):
    if str(handle).startswith("MIG"):
        raise NVMLError("not supported")
    return SimpleNamespace(gpu=20 * (samples % 3))
'''


@pytest.fixture
def call(tmp_path: Path) -> Any:
    """Start `gpu-lease` on four devices with a pretended NVML."""
    (tmp_path / "pynvml.py").write_text(DRIVER)

    def start(gpus: int, *command: str, **variables: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        environ = {
            "PYTHONPATH": path,
            "GPU_LEASES_PRETEND": "4",
            "GPU_LEASES": str(tmp_path / "leases"),
        }
        record = tmp_path / "job.gpu.json"
        lease = ["--gpus", str(gpus), "--record", str(record), "--", *command]
        return subprocess.Popen(
            [sys.executable, "-m", "gpu_leases", *lease],
            env=os.environ | environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_model_memory_and_utilisation_are_recorded(call: Any, tmp_path: Path) -> None:
    process = call(2, "sh", "-c", "echo $CUDA_VISIBLE_DEVICES; sleep 2; exit 3")
    assert process.communicate()[0] == "0,1\n"
    assert process.returncode == 3
    record = json.loads((tmp_path / "job.gpu.json").read_text())
    assert 2 <= record["seconds"] < 60
    assert [item["device"] for item in record["devices"]] == ["0", "1"]
    assert [item["model"] for item in record["devices"]] == ["Pretended 0", "Pretended 1"]
    assert [item["peak_memory_mib"] for item in record["devices"]] == [300, 300]
    assert all(0 < item["mean_utilization_percent"] <= 40 for item in record["devices"])


def test_a_slice_has_memory_but_no_utilisation(call: Any, tmp_path: Path) -> None:
    slice_of_one = {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "MIG-aaaa"}
    with call(1, "true", **slice_of_one) as process:
        assert process.wait() == 0
    (device,) = json.loads((tmp_path / "job.gpu.json").read_text())["devices"]
    assert device["peak_memory_mib"] == 100
    assert device["mean_utilization_percent"] is None


@pytest.mark.parametrize(
    "variables",
    [
        {"NO_DRIVER": "1"},
        {"NO_NAME": "1"},
        {"GPU_LEASES_PRETEND": "8", "CUDA_VISIBLE_DEVICES": "7"},
    ],
)
def test_without_a_driver_nothing_is_written(
    call: Any, tmp_path: Path, variables: dict[str, str]
) -> None:
    with call(1, "true", **variables) as process:
        assert process.wait() == 0
    assert not (tmp_path / "job.gpu.json").exists()


def test_a_record_that_cannot_be_written_is_a_warning(call: Any, tmp_path: Path) -> None:
    (tmp_path / "job.gpu.json").mkdir()
    process = call(1, "sh", "-c", "exit 3")
    warning = f"gpu-lease: warning: {tmp_path / 'job.gpu.json'}: Is a directory\n"
    assert process.communicate() == ("", warning)
    assert process.returncode == 3


def test_a_signal_reaches_the_command_and_the_record_is_written(call: Any, tmp_path: Path) -> None:
    trap = f"trap 'touch {tmp_path}/told; exit 5' TERM; touch {tmp_path}/ready; sleep 60 & wait"
    with call(1, "sh", "-c", trap) as process:
        while not (tmp_path / "ready").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 5
    assert (tmp_path / "told").exists()
    assert (tmp_path / "job.gpu.json").exists()


def test_an_unknown_command_is_one_line(call: Any) -> None:
    process = call(1, "no-such-command")
    assert process.communicate()[1] == (
        "gpu-lease: error: no-such-command: No such file or directory\n"
    )
    assert process.returncode == 2

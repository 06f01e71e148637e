"""A record of what a command did on its GPUs: their model, peak memory and utilisation.

They are sampled through NVML, the library behind nvidia-smi. A leased device belongs to one command
alone, so the memory in use on the device is the command's. Without a driver or without devices
there is no record. A failure to record never fails the command.
"""

import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

MIB = 2**20


class GpuRecorder:
    """Collects the samples of some devices. Create it with `open_recorder`."""

    def __init__(self, nvml: Any, handles: Mapping[str, Any]) -> None:
        self._nvml, self._handles = nvml, handles
        self._facts = {
            name: {
                "device": name,
                "model": nvml.nvmlDeviceGetName(handle),
                "memory_total_mib": nvml.nvmlDeviceGetMemoryInfo(handle).total // MIB,
            }
            for name, handle in handles.items()
        }
        self._peak_mib = dict.fromkeys(handles, 0)
        self._busy_percent: dict[str, list[int]] = {name: [] for name in handles}

    def sample(self) -> None:
        for name, handle in self._handles.items():
            with suppress(Exception):  # whatever the driver does, the command goes on
                used_mib = self._nvml.nvmlDeviceGetMemoryInfo(handle).used // MIB
                self._peak_mib[name] = max(self._peak_mib[name], used_mib)
                # A slice of a device (MIG) has no utilisation of its own.
                busy = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu
                self._busy_percent[name].append(busy)

    def write(self, path: Path, seconds: float) -> None:
        devices = []
        for name, facts in self._facts.items():
            busy = self._busy_percent[name]
            measured = {
                "peak_memory_mib": self._peak_mib[name],
                "mean_utilization_percent": round(sum(busy) / len(busy), 1) if busy else None,
                "max_utilization_percent": max(busy, default=None),
            }
            devices.append(facts | measured)
        text = json.dumps({"seconds": round(seconds, 3), "devices": devices}, indent=2)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(f"{text}\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            print(f"gpu-lease: warning: {path}: {error.strerror}", file=sys.stderr)


def open_recorder(devices: Sequence[str]) -> GpuRecorder | None:
    """A recorder of devices, named as in CUDA_VISIBLE_DEVICES; None where NVML sees none."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = {
            device: (
                pynvml.nvmlDeviceGetHandleByIndex(int(device))
                if device.isdecimal()
                else pynvml.nvmlDeviceGetHandleByUUID(device)
            )
            for device in devices
        }
        return GpuRecorder(pynvml, handles)
    except Exception:  # no package, library, driver or such device, so nothing can be recorded
        return None

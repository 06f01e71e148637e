"""A record of what a command did on its GPUs: their model, peak memory and utilisation.

They are sampled through NVML, the library behind nvidia-smi. A leased device belongs to one command
alone, so the memory in use on the device is the command's. Without a driver or without devices
there is no record. A failure to record never fails the command.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vovnet.core.files import write_json

MIB = 2**20


@dataclass
class _Device:
    """A device and its samples. A slice of a device (MIG) has no utilisation of its own."""

    handle: Any
    model: str
    memory_total_mib: int
    peak_memory_mib: int = 0
    utilization_percent: list[int] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        used = self.utilization_percent
        return {
            "model": self.model,
            "memory_total_mib": self.memory_total_mib,
            "peak_memory_mib": self.peak_memory_mib,
            "mean_utilization_percent": round(sum(used) / len(used), 1) if used else None,
            "max_utilization_percent": max(used, default=None),
        }


class GpuRecorder:
    """Collects the samples of some devices. Create it with `open_recorder`."""

    def __init__(self, nvml: Any, handles: Mapping[str, Any]) -> None:
        self._nvml = nvml
        self._devices = {
            name: _Device(handle, nvml.nvmlDeviceGetName(handle), self._memory(handle).total // MIB)
            for name, handle in handles.items()
        }

    def sample(self) -> None:
        for device in self._devices.values():
            try:
                used_mib = self._memory(device.handle).used // MIB
                device.peak_memory_mib = max(device.peak_memory_mib, used_mib)
                busy = self._nvml.nvmlDeviceGetUtilizationRates(device.handle).gpu
                device.utilization_percent.append(busy)
            except Exception:  # whatever the driver does, the command goes on
                continue

    def write(self, path: Path, seconds: float) -> None:
        devices = [{"device": name} | item.summary() for name, item in self._devices.items()]
        try:
            write_json(path, {"seconds": round(seconds, 3), "devices": devices})
        except OSError as error:
            print(f"vovnet: warning: {path}: {error.strerror}", file=sys.stderr)

    def _memory(self, handle: Any) -> Any:
        return self._nvml.nvmlDeviceGetMemoryInfo(handle)


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

"""The GPUs that a process may use, with one name for each of them.

CUDA_VISIBLE_DEVICES may name a device by its number or by its UUID, which may be shortened. Here
every device is called by its number in nvidia-smi, so that two names never stand for one device.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_leases.errors import LeaseError

VISIBLE = "CUDA_VISIBLE_DEVICES"

PRETENDED = "GPU_LEASES_PRETEND"
"""Environment variable: how many GPUs to assume instead of asking the machine."""

HIDING = {"-1", "NoDevFiles"}
"""Entries of CUDA_VISIBLE_DEVICES after which CUDA sees no further device."""

UUID = re.compile(r"(GPU|MIG)-[0-9a-fA-F-]+(/\d+/\d+)?")


class DeviceError(LeaseError):
    """A device does not exist, or there are fewer devices than were asked for."""


def visible_devices(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The devices that this process may use, by their numbers in nvidia-smi where those are known.

    Inside a Slurm job they are those that Slurm granted, in Slurm's own numbering.
    """
    listed = environ.get(VISIBLE)
    if "SLURM_JOB_ID" in environ:
        return _entries(listed or "")
    machine = machine_devices(environ)
    if listed is None:
        return list(machine)
    return list(dict.fromkeys(_resolve(entry, machine) for entry in _entries(listed)))


def environment_of(devices: Sequence[str]) -> dict[str, str]:
    """The environment in which a process uses these devices and no others."""
    # nvidia-smi counts along the bus; CUDA would count by speed.
    return {VISIBLE: ",".join(devices), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def machine_devices(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Number -> UUID (empty if unknown) of every device of the machine."""
    pretended = environ.get(PRETENDED)
    if pretended is not None:
        if not pretended.isdecimal():
            raise DeviceError(f"{PRETENDED}: expected a number of devices, got {pretended!r}")
        return {str(number): "" for number in range(int(pretended))}
    return _ask_nvidia_smi() or _device_nodes()


def _entries(listed: str) -> list[str]:
    entries = [entry.strip() for entry in listed.split(",") if entry.strip()]
    ends = (index for index, entry in enumerate(entries) if entry in HIDING)
    return entries[: next(ends, len(entries))]


def _resolve(entry: str, machine: Mapping[str, str]) -> str:
    if entry in machine:
        return entry
    if UUID.fullmatch(entry):
        matching = [number for number, uuid in machine.items() if uuid.startswith(entry)]
        if len(matching) == 1:
            return matching[0]
        # A slice of a device (MIG) has no number, and some machines cannot tell their UUIDs.
        if entry.startswith("MIG-") or not any(machine.values()):
            return entry
    known = ", ".join(machine) or "none"
    raise DeviceError(f"{VISIBLE}: this machine has no device {entry!r}, its devices are: {known}")


def _ask_nvidia_smi() -> dict[str, str]:
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (FileNotFoundError, subprocess.SubprocessError):
        return {}
    rows = (line.split(",") for line in result.stdout.splitlines() if "," in line)
    return {number.strip(): uuid.strip() for number, uuid in rows}


def _device_nodes() -> dict[str, str]:
    numbers = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return dict.fromkeys(sorted(filter(str.isdecimal, numbers), key=int), "")

"""The shards of an observation side by side, in one process for each listed device."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from vovnet.core.errors import ConfigError, VovnetError
from vovnet.machine.devices import VISIBLE, environment_of, machine_devices, visible_devices


def device_list(text: str) -> list[int]:
    """An argument such as `0,1,2`: the places of different devices among the visible ones."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise argparse.ArgumentTypeError(f"expected different numbers as in 0,1,2, got {text!r}")
    return [int(part) for part in parts]


def devices_at(places: Sequence[int]) -> list[str]:
    """The devices at these places among the visible ones.

    Where the machine has no device at all, or all are hidden, their names are empty, and the
    processes share the CPU, which one line says.
    """
    visible = visible_devices() if machine_devices() else []
    if not visible:
        print(f"no GPU is visible here: {len(places)} processes share the CPU", file=sys.stderr)
        return [""] * len(places)
    if max(places) >= len(visible):
        raise ConfigError(
            f"--gpus: device {max(places)} is not among the {len(visible)} visible devices"
            f" ({VISIBLE}={os.environ.get(VISIBLE, 'not set')})"
        )
    return [visible[place] for place in places]


def run_on_devices(task: Callable[[int, int], None], places: Sequence[int]) -> None:
    """Call `task(index, count)` once for each device, in a process that sees that device only.

    The first error is raised here, after the other processes have ended.
    """
    devices = devices_at(places)
    with ProcessPoolExecutor(len(devices), mp_context=get_context("spawn")) as pool:
        futures = [
            pool.submit(_on_device, device, task, index, len(devices))
            for index, device in enumerate(devices)
        ]
    try:
        for future in futures:
            future.result()
    except BrokenProcessPool:
        raise VovnetError("a process of --parallel was killed; the same command goes on") from None


def _on_device(device: str, task: Callable[[int, int], None], index: int, count: int) -> None:
    os.environ.update(environment_of([device]))  # before torch is imported, which reads it once
    task(index, count)

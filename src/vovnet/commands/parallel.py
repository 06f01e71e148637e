"""Shards of an observation side by side: one process per listed device."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from vovnet.core.errors import ConfigError, VovnetError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def device_list(text: str) -> list[int]:
    """`0,1,2`, the numbers of different devices, as an argument type."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise argparse.ArgumentTypeError(f"expected different numbers as in 0,1,2, got {text!r}")
    return [int(part) for part in parts]


def visible_devices(numbers: Sequence[int]) -> list[str]:
    """What CUDA_VISIBLE_DEVICES must say for each: numbers count the devices visible here."""
    visible = os.environ.get(VISIBLE)
    if visible is None:
        return [str(number) for number in numbers]
    names = visible.split(",") if visible else []
    if not names:  # the accelerators are switched off: the processes share the CPU
        return [""] * len(numbers)
    for number in numbers:
        if number >= len(names):
            raise ConfigError(
                f"--gpus: device {number} is not among the {len(names)} of {VISIBLE}={visible}"
            )
    return [names[number] for number in numbers]


def run_on_devices(task: Callable[[int, int], None], numbers: Sequence[int]) -> None:
    """Call `task(index, count)` once per device, each in a process that sees that device only.

    The first error is raised here, after the other processes have ended.
    """
    devices = visible_devices(numbers)
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
    os.environ[VISIBLE] = device  # before torch is imported, which reads it once
    task(index, count)

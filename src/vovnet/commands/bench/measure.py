"""A line of the bench's table, and clocks that treat ways of doing the same alike."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from vovnet.model.vovnet import device_name

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """A measured value. `at_least` or `at_most` is the requirement, if there is one."""

    part: str
    what: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`pass` or `miss`; empty where nothing is required."""
        if self.at_least is None and self.at_most is None:
            return ""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return "pass" if low <= self.value <= high else "miss"

    @property
    def columns(self) -> dict[str, Any]:
        """The line as a row of bench.csv."""
        return vars(self) | {"verdict": self.verdict}


def interleaved(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """The seconds that each way takes in each repeat, after a first round that does not count.

    The ways take turns in going first, so that none profits from a quiet moment of the machine.
    """
    names = list(ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        ways[name]()
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(timed(ways[name])[0])
    return seconds


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """The seconds until the device has finished `work`, and what `work` returned."""
    began = time.perf_counter()
    value = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began, value


def median(seconds: Sequence[float]) -> float:
    return float(statistics.median(seconds))


def growth_exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of log(seconds) over log(size) by least squares: 1 is linear."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def machine() -> dict[str, Any]:
    """The machine on which the numbers are measured."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "device": device_name(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""Clocks for the parts of a live answer: wall time at batch size 1, and peak memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from vovnet.evaluation.live_columns import PARTS


@dataclass
class Timing:
    """Milliseconds per part of one sample, and the device's peak memory.

    On the CPU memory stays None: a process tells its highest peak so far, not a sample's.
    """

    device: torch.device
    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    memory_mb: float | None = None

    @property
    def latency_ms(self) -> float:
        return sum(self.parts.values())

    def start(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)

    @contextmanager
    def clock(self, part: str) -> Iterator[None]:
        """Time what is done inside, until the device has finished it."""
        began = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.parts[part] += (time.perf_counter() - began) * 1000

    def stop(self) -> None:
        if self.device.type == "cuda":
            self.memory_mb = torch.cuda.max_memory_allocated(self.device) / 2**20

"""What a live run measures: milliseconds per part of an answer, peak memory, tokens per second.

Times are wall clock at batch size 1, taken after the device has finished. Shapes: N samples, U
questions, B resamples.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from vovnet.core.stats import Floats, Ints, percentile_interval, resampled_means, unit_sums

PARTS = (
    "text_pass",
    "decision",
    "image_loading",
    "preprocessing",
    "vision_encoding",
    "prefill",
    "generation",
)
"""In the order in which a sample goes through them; a part that it does not need takes 0."""


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


def profile_columns(timings: Sequence[Timing]) -> dict[str, float]:
    """What results.csv says of the timings; memory only where it was measured."""
    latency_N = np.array([timing.latency_ms for timing in timings])
    columns = {
        "latency_ms": float(latency_N.mean()),
        "latency_p50_ms": float(np.percentile(latency_N, 50)),
        "latency_p90_ms": float(np.percentile(latency_N, 90)),
    }
    memory = [timing.memory_mb for timing in timings if timing.memory_mb is not None]
    if memory:
        columns["mem_peak_p50_mb"] = float(np.percentile(memory, 50))
        columns["mem_peak_p90_mb"] = float(np.percentile(memory, 90))
    return columns


def profile_facts(timings: Sequence[Timing], generated_tokens: int) -> dict[str, Any]:
    """What summary.json adds: tokens per second, and each part's mean and share of the time."""
    total_ms = sum(timing.latency_ms for timing in timings)
    parts_ms = {part: sum(timing.parts[part] for timing in timings) for part in PARTS}
    return {
        "num_samples": len(timings),
        "tokens_s": generated_tokens / (total_ms / 1000),
        "generated_tokens": generated_tokens,
        "parts_ms": {part: value / len(timings) for part, value in parts_ms.items()},
        "time_shares": {part: value / total_ms for part, value in parts_ms.items()},
        **profile_columns(timings),
    }


def paired_ratio(
    first: Sequence[Timing], second: Sequence[Timing], units_N: Ints, counts_BU: Floats
) -> dict[str, Any]:
    """How long `first` takes in terms of `second`, sample by sample.

    The geometric mean of the samples' ratios, with a 95% bootstrap interval over questions: a
    slow sample weighs as much as a fast one, and swapping the two inverts the ratio.
    """
    pairs = zip(first, second, strict=True)
    logs_N1 = np.array([[np.log(a.latency_ms / b.latency_ms)] for a, b in pairs])
    sizes_U = np.bincount(units_N).astype(np.float64)
    sums_U1 = unit_sums(logs_N1, units_N)
    low, high = np.exp(percentile_interval(resampled_means(counts_BU, sums_U1, sizes_U)))
    return {
        "num_samples": len(logs_N1),
        "latency_ratio": float(np.exp(logs_N1.mean())),
        "latency_ratio_lo": float(low[0]),
        "latency_ratio_hi": float(high[0]),
    }

"""What timings are made into: values by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vovnet.core.stats import bootstrap_counts
from vovnet.inference.timing import PARTS, Timing, paired_ratio, profile_columns, profile_facts


def timing(latency_ms: float, memory_mb: float | None = None) -> Timing:
    """A quarter of the time in the text pass, the rest in generation."""
    found = Timing(torch.device("cpu"), memory_mb=memory_mb)
    found.parts |= {"text_pass": latency_ms / 4, "generation": 3 * latency_ms / 4}
    return found


def test_columns() -> None:
    columns = profile_columns([timing(value) for value in (10, 20, 30, 40, 110)])
    assert columns == pytest.approx({"latency_ms": 42, "latency_p50_ms": 30, "latency_p90_ms": 82})
    measured = profile_columns([timing(1, 100.0), timing(1, 300.0)])
    assert (measured["mem_peak_p50_mb"], measured["mem_peak_p90_mb"]) == (200, 280)


def test_facts() -> None:
    facts = profile_facts([timing(10), timing(30)], generated_tokens=8)
    assert facts["tokens_s"] == pytest.approx(200)
    assert set(facts["time_shares"]) == set(PARTS)
    assert facts["time_shares"]["text_pass"] == pytest.approx(0.25)
    assert facts["parts_ms"]["generation"] == pytest.approx(15)
    assert "mem_peak_p50_mb" not in facts


def test_the_ratio_is_paired() -> None:
    """Half the time on every sample, however much the samples differ: an interval of no width."""
    slow = [timing(value) for value in (1, 10, 100, 1000)]
    fast = [timing(item.latency_ms / 2) for item in slow]
    units_N, counts_BU = np.array([0, 0, 1, 2]), bootstrap_counts(3, 200, 0)
    found = paired_ratio(fast, slow, units_N, counts_BU)
    for end in ("", "_lo", "_hi"):
        assert found[f"latency_ratio{end}"] == pytest.approx(0.5)
    mixed = [
        timing(item.latency_ms * factor) for item, factor in zip(slow, (1, 1, 4, 4), strict=True)
    ]
    there = paired_ratio(mixed, slow, units_N, counts_BU)
    back = paired_ratio(slow, mixed, units_N, counts_BU)
    assert there["latency_ratio"] == pytest.approx(2)
    assert back["latency_ratio"] == pytest.approx(1 / there["latency_ratio"])
    assert there["latency_ratio_lo"] < 2 < there["latency_ratio_hi"]

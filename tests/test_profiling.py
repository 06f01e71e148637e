"""What timings are made into: values by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from vovnet.core.resampling import Resamples
from vovnet.evaluation.live_columns import PARTS
from vovnet.evaluation.live_run import compare_ways, paired_ratio, profile_columns, profile_facts


def answers(latencies_ms: list[float], **facts: Any) -> pd.DataFrame:
    """Rows of live.parquet: a quarter of the time in the text pass, the rest in generation."""
    rows = pd.DataFrame({f"{part}_ms": np.zeros(len(latencies_ms)) for part in PARTS})
    rows["text_pass_ms"] = np.array(latencies_ms) / 4
    rows["generation_ms"] = 3 * np.array(latencies_ms) / 4
    return rows.assign(**{"memory_mb": np.nan, "generated_tokens": 4} | facts)


def test_columns() -> None:
    columns = profile_columns(answers([10, 20, 30, 40, 110]))
    assert columns == pytest.approx({"latency_ms": 42, "latency_p50_ms": 30, "latency_p90_ms": 82})
    measured = profile_columns(answers([1, 1], memory_mb=[100.0, 300.0]))
    assert (measured["mem_peak_p50_mb"], measured["mem_peak_p90_mb"]) == (200, 280)


def test_facts() -> None:
    facts = profile_facts(answers([10, 30]))
    assert facts["tokens_s"] == pytest.approx(200)
    assert set(facts["time_shares"]) == set(PARTS)
    assert facts["time_shares"]["text_pass"] == pytest.approx(0.25)
    assert facts["parts_ms"]["generation"] == pytest.approx(15)
    assert "mem_peak_p50_mb" not in facts


def test_the_ratio_is_paired() -> None:
    """Half the time on every sample, however much the samples differ: an interval of no width."""
    slow_N = np.array([1.0, 10, 100, 1000])
    units_N, resamples = np.array([0, 0, 1, 2]), Resamples.draw(np.arange(3), 200, 0)
    found = paired_ratio(slow_N / 2, slow_N, units_N, resamples)
    for end in ("", "_lo", "_hi"):
        assert found[f"latency_ratio{end}"] == pytest.approx(0.5)
    mixed_N = slow_N * [1, 1, 4, 4]
    there = paired_ratio(mixed_N, slow_N, units_N, resamples)
    back = paired_ratio(slow_N, mixed_N, units_N, resamples)
    assert there["latency_ratio"] == pytest.approx(2)
    assert back["latency_ratio"] == pytest.approx(1 / there["latency_ratio"])
    assert there["latency_ratio_lo"] < 2 < there["latency_ratio_hi"]


def test_answers_that_differ_are_named() -> None:
    facts = {"id": ["a", "b", "c"], "view": ["no", "full", "full"]}
    first = answers([1, 1, 4], token_ids=[[1], [2, 3], [4]], **facts)
    second = answers([2, 4, 4], token_ids=[[1], [2], [4]], **facts)
    found = compare_ways(first, second, np.arange(3), Resamples.draw(np.arange(3), 50, 0))
    assert (found["num_different"], found["different"]) == (1, ["b"])
    assert found["latency_ratio_by_view"] == pytest.approx({"no": 0.5, "full": 0.5})
    assert found["without"]["latency_p50_ms"] == 4

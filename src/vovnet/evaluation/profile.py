"""What live runs measured: milliseconds per part of an answer, peak memory, tokens per second.

Shapes: N samples, U questions, B resamples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from vovnet.core.arrays import Floats, Ints, unit_sums
from vovnet.core.stats import percentile_interval, resampled_means
from vovnet.evaluation.live_columns import PARTS


def latencies(rows: pd.DataFrame) -> Floats:
    """The milliseconds that each row of live.parquet took, (N,)."""
    return rows[[f"{part}_ms" for part in PARTS]].sum(axis=1).to_numpy()


def profile_columns(rows: pd.DataFrame) -> dict[str, float]:
    """What results.csv says of live answers; memory only where it was measured."""
    latency_N = latencies(rows)
    columns = {
        "latency_ms": float(latency_N.mean()),
        "latency_p50_ms": float(np.percentile(latency_N, 50)),
        "latency_p90_ms": float(np.percentile(latency_N, 90)),
    }
    memory = rows["memory_mb"].dropna()
    if len(memory):
        columns["mem_peak_p50_mb"] = float(np.percentile(memory, 50))
        columns["mem_peak_p90_mb"] = float(np.percentile(memory, 90))
    return columns


def profile_facts(rows: pd.DataFrame) -> dict[str, Any]:
    """What summary.json adds: tokens per second, and each part's mean and share of the time."""
    total_ms, generated = float(latencies(rows).sum()), int(rows["generated_tokens"].sum())
    parts_ms = {part: float(rows[f"{part}_ms"].sum()) for part in PARTS}
    return {
        "num_samples": len(rows),
        "tokens_s": generated / (total_ms / 1000),
        "generated_tokens": generated,
        "parts_ms": {part: value / len(rows) for part, value in parts_ms.items()},
        "time_shares": {part: value / total_ms for part, value in parts_ms.items()},
        **profile_columns(rows),
    }


def paired_ratio(
    first_ms_N: Floats, second_ms_N: Floats, units_N: Ints, counts_BU: Floats
) -> dict[str, Any]:
    """How long the first takes in terms of the second, sample by sample.

    The geometric mean of the samples' ratios, with a 95% bootstrap interval over questions: a
    slow sample weighs as much as a fast one, and swapping the two inverts the ratio.
    """
    logs_N1 = np.log(first_ms_N / second_ms_N)[:, None]
    sizes_U = np.bincount(units_N).astype(np.float64)
    sums_U1 = unit_sums(logs_N1, units_N)
    low, high = np.exp(percentile_interval(resampled_means(counts_BU, sums_U1, sizes_U)))
    return {
        "num_samples": len(logs_N1),
        "latency_ratio": float(np.exp(logs_N1.mean())),
        "latency_ratio_lo": float(low[0]),
        "latency_ratio_hi": float(high[0]),
    }


def compare_ways(
    with_reuse: pd.DataFrame, without: pd.DataFrame, units_N: Ints, counts_BU: Floats
) -> dict[str, Any]:
    """What cache reuse changes: answers that differ in a token, and the latency, also per view.

    Both tables hold the same samples in the same order.
    """
    pairs = zip(with_reuse["id"], with_reuse["token_ids"], without["token_ids"], strict=True)
    different = [sample for sample, first, second in pairs if list(first) != list(second)]
    first_ms_N, second_ms_N = latencies(with_reuse), latencies(without)
    logs_N = np.log(first_ms_N / second_ms_N)
    views_N = with_reuse["view"].to_numpy()
    return {
        "num_different": len(different),
        "different": different[:10],
        **paired_ratio(first_ms_N, second_ms_N, units_N, counts_BU),
        "without": profile_columns(without),
        "latency_ratio_by_view": {
            view: float(np.exp(logs_N[views_N == view].mean())) for view in dict.fromkeys(views_N)
        },
    }

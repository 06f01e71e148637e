"""Predictions beside what was measured, in bins. Shapes: N samples, Q bins."""

from collections.abc import Iterable, Sequence
from typing import Any

from vovnet.core.arrays import Bools, Floats, Ints

NUM_BINS = 10

Bin = dict[str, Any]
"""The means `predicted` and `measured` of a bin, and its `count`."""


def binned(predicted_N: Floats, measured_N: Floats, parts: Iterable[Ints | Bools]) -> list[Bin]:
    """The means of prediction and outcome in each part of the samples."""
    return [
        {
            "predicted": float(predicted_N[part].mean()),
            "measured": float(measured_N[part].mean()),
            "count": len(predicted_N[part]),
        }
        for part in parts
    ]


def mean_gap(bins: Sequence[Bin]) -> float:
    """The expected calibration error: the mean distance of both over the samples of all bins."""
    gaps = [abs(item["predicted"] - item["measured"]) * item["count"] for item in bins]
    return float(sum(gaps) / sum(item["count"] for item in bins))

"""Every point of every experiment, with timings where they were measured."""

from __future__ import annotations

from vovnet.report import text
from vovnet.report.inputs import Inputs, summary
from vovnet.report.render import Table

ORDER = 30
TIMINGS = ("latency_ms", "latency_p50_ms", "latency_p90_ms", "mem_peak_p50_mb", "mem_peak_p90_mb")


def table(inputs: Inputs) -> Table:
    rows = summary(inputs, TIMINGS)
    columns = (
        text.point(inputs.settings, rows)
        | text.accuracy(rows)
        | text.value(rows, "avg_cost", deviation=True)
        | text.value(rows, "avg_vision_tokens")
        | text.value(rows, "latency_p50_ms")
        | text.seeds(rows)
    )
    caption = f"Every evaluated point. {text.SEEDS_NOTE}"
    return Table(caption, rows, columns, long=True)

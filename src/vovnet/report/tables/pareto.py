"""Every point of every experiment, with timings where they were measured."""

from vovnet.report import render
from vovnet.report.inputs import Inputs, summary

ORDER = 30
TIMINGS = ("latency_ms", "latency_p50_ms", "latency_p90_ms", "mem_peak_p50_mb", "mem_peak_p90_mb")


def table(inputs: Inputs) -> render.Table:
    rows = summary(inputs, TIMINGS)
    columns = (
        render.point(inputs.settings, rows)
        | render.accuracy(rows)
        | render.value(rows, "avg_cost", deviation=True)
        | render.value(rows, "avg_vision_tokens")
        | render.value(rows, "avg_flops")
        | render.value(rows, "latency_p50_ms")
        | render.seeds(rows)
    )
    caption = f"Every evaluated point. {render.SEEDS_NOTE}"
    return render.Table(caption, rows, columns, long=True)

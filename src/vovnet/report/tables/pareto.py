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
    main = inputs.is_main(rows) & (rows["mode"] == "replay")
    brief = f"The points of {'VoVNet' if main.any() else 'every method'}. {render.SEEDS_NOTE}"
    short = render.Short(brief, render.without(columns, "Seeds"), main if main.any() else None)
    return render.Table(caption, rows, columns, short, main)

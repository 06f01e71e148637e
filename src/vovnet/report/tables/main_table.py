"""The main table: a row per dataset and method, at its operating point; latency where run live."""

from vovnet.evaluation.columns import FLOPS, TOKENS
from vovnet.report import render
from vovnet.report.inputs import OWN, Inputs, equal_cost_gains, of, operating_note, operating_points
from vovnet.report.live_runs import live_latency

ORDER = 10


def table(inputs: Inputs) -> render.Table:
    """Every number of a row, its gain among them, is that of one operating point."""
    by, rows = ["dataset", "experiment", "point"], operating_points(inputs)
    for unit in (TOKENS, FLOPS):
        names = {f"gain{end}_mixing": f"gain_{unit}{end}" for end in ("", "_sd", "_lo", "_hi")}
        gains = of(equal_cost_gains(inputs, unit), at=OWN)[[*by, *names]].rename(columns=names)
        rows = rows.merge(gains, on=by, how="left", validate="one_to_one")
    rows["latency_p50_ms"] = live_latency(inputs, rows)
    columns = (
        render.point(inputs.settings, rows)
        | render.accuracy(rows)
        | render.value(rows, "avg_cost")
        | render.value(rows, "avg_flops", "GFLOPs ↓")
        | render.shares(rows, inputs.actions)
        | render.value(rows, "latency_p50_ms", "P50 ↓ [ms]")
        | render.value(rows, "gain", "Gain ↑", stem="gain_tokens", ends=True)
        | render.value(rows, "gain", "by FLOPs ↑", stem="gain_flops", ends=True)
        | render.seeds(rows)
    )
    caption = (
        f"Main results. Each row is one operating point. {operating_note(inputs)} "
        f"{render.SEEDS_NOTE} {render.shares_note(inputs.actions)} "
        "P50: median latency of the same policy run live, question by question, alone on its "
        "machine (table `profiling` names the device). Gain: points of accuracy over random "
        "mixing of the fixed policies at the row's own cost, in vision tokens and in counted FLOPs "
        "of text pass, tower and language model, with its 95% interval; table `hull_metrics` has "
        "gains of whole curves."
    )
    return render.Table(caption, rows.drop(columns=["mode", "point"]), columns)

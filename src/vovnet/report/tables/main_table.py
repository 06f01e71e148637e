"""The main table: a row per dataset and method, at its operating point; latency where run live."""

from vovnet.report import render
from vovnet.report.inputs import Inputs, hull_summary, operating_note, operating_points
from vovnet.report.live_runs import live_latency

ORDER = 10


def table(inputs: Inputs) -> render.Table:
    gain = [f"gain_at_50{end}" for end in ("_mean", "_sd", "_lo", "_hi")]
    by = ["dataset", "experiment"]
    rows = operating_points(inputs).merge(
        hull_summary(inputs)[[*by, *gain]], on=by, how="left", validate="one_to_one"
    )
    rows["latency_p50_ms"] = live_latency(inputs, rows)
    columns = (
        render.point(inputs.settings, rows)
        | render.accuracy(rows)
        | render.value(rows, "avg_cost")
        | render.shares(rows, inputs.actions)
        | render.value(rows, "latency_p50_ms", "P50 ↓ [ms]")
        | render.value(rows, "gain_at_50", "Gain at 50% ↑", ends=True)
        | render.seeds(rows)
    )
    caption = (
        f"Main results. {operating_note(inputs)} {render.SEEDS_NOTE} "
        f"{render.shares_note(inputs.actions)} "
        "P50: median latency of the same policy run live, question by question, alone on its "
        "machine (table `profiling` names the device). Gain: points of accuracy over random "
        "mixing of the fixed policies at 50% of FULL's cost, with its 95% interval."
    )
    return render.Table(caption, rows.drop(columns=["mode", "point"]), columns)

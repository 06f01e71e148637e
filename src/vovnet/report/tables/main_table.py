"""The main table: a row per dataset and method, at its operating point; latency where run live."""

from __future__ import annotations

from vovnet.report import text
from vovnet.report.inputs import Inputs, hull_summary, operating_points
from vovnet.report.live_runs import live_latency
from vovnet.report.render import Table, shares_note

ORDER = 10


def table(inputs: Inputs) -> Table:
    gain = [f"gain_at_50{end}" for end in ("_mean", "_sd", "_lo", "_hi")]
    by = ["dataset", "experiment"]
    rows = operating_points(inputs).merge(
        hull_summary(inputs)[[*by, *gain]], on=by, how="left", validate="one_to_one"
    )
    rows["latency_p50_ms"] = live_latency(inputs, rows)
    columns = (
        text.point(inputs.settings, rows)
        | text.accuracy(rows)
        | text.value(rows, "avg_cost")
        | text.shares(rows, inputs.actions)
        | text.value(rows, "latency_p50_ms", "P50 ↓ [ms]")
        | text.value(rows, "gain_at_50", "Gain at 50% ↑", ends=True)
        | text.seeds(rows)
    )
    caption = (
        f"Main results. VoVNet and the matched random policy at "
        f"λ = {inputs.settings.report.target_lambda:g}; other sweeps at the point nearest to "
        f"VoVNet in mean cost. {text.SEEDS_NOTE} {shares_note(inputs.actions)} "
        "P50: median latency of the same policy run live, question by question. Gain: points of "
        "accuracy over random mixing of the fixed policies at 50% of FULL's cost, with its 95% "
        "interval."
    )
    return Table(caption, rows.drop(columns=["mode", "point"]), columns)

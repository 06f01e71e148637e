"""The main table: a row per dataset and method, at its operating point; latency where run live."""

import pandas as pd

from vovnet.evaluation.columns import BY_TEXT, FLOPS, TEXT_REFERENCE, TOKENS
from vovnet.report import render
from vovnet.report.inputs import (
    OWN,
    Inputs,
    equal_cost_gains,
    of,
    operating_note,
    operating_points,
    ordered,
)
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
    rows = _with_reference(inputs, rows)
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
    named = any(map(inputs.main, inputs.datasets()))
    place = "VoVNet's cost" if named else "half of FULL's cost"
    caption = (
        f"Main results. Each row is one operating point. {operating_note(inputs)} "
        f"{render.SEEDS_NOTE} {render.shares_note(inputs.actions)} "
        "P50: median latency of the same policy run live, question by question, alone on its "
        "machine (table `profiling` names the device). Gain: points of accuracy over random "
        "mixing of the fixed policies at the row's own cost, in vision tokens and in counted FLOPs "
        "of text pass, tower and language model, with its 95% interval; table `hull_metrics` has "
        f"gains of whole curves. {TEXT_REFERENCE}: a reference, no policy, at {place} by each "
        "count (table `references`)."
    )
    brief = (
        f"Main results: one operating point of each method. {operating_note(inputs)} Accuracy: mean"
        f" ± standard deviation over seeds. {render.shares_note(inputs.actions)} Gain: points of "
        "accuracy over random mixing of the fixed policies at the row's own cost, in vision tokens "
        "and in counted FLOPs, with its 95% interval."
    )
    headings = render.without(columns, "Point", render.INTERVAL, "GFLOPs ↓", "P50 ↓ [ms]", "Seeds")
    numbers, short = rows.drop(columns=["mode", "point"]), render.Short(brief, headings)
    return render.Table(caption, numbers, columns, short, inputs.is_main(rows))


def _with_reference(inputs: Inputs, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows and, last of each dataset, what a choice by the text alone could reach."""
    tokens, flops = (
        of(inputs.counted(unit).references, reference=BY_TEXT, at=OWN).set_index("dataset")
        for unit in (TOKENS, FLOPS)
    )
    ends = ("", "_sd", "_lo", "_hi")
    names = {"accuracy": "accuracy_mean", "avg_cost": "avg_cost_mean"}
    told = tokens[["num_seeds", "avg_cost", *(f"accuracy{end}" for end in ends)]]
    told = told.rename(columns=names)
    for unit, found in ((TOKENS, tokens), (FLOPS, flops)):
        gains = found[[f"gain{end}" for end in ends]]
        told = told.join(gains.set_axis([f"gain_{unit}{end}" for end in ends], axis=1))
    told = told.reset_index().assign(
        title=TEXT_REFERENCE, role="reference", experiment=BY_TEXT, point=-1
    )
    known = told[told["dataset"].isin(rows["dataset"])].dropna(axis="columns", how="all")
    if known.empty:
        return rows
    return ordered(inputs.settings, pd.concat([rows, known], ignore_index=True), by=["dataset"])

"""The table over benchmarks: a row per method, a group of columns per dataset, and their mean."""

from __future__ import annotations

from vovnet.report import text
from vovnet.report.inputs import Inputs, measures, of, operating_points
from vovnet.report.render import Table, shares_heading, words

ORDER = 20
MEANS = ("accuracy_mean", "avg_cost_mean")


def table(inputs: Inputs) -> Table:
    """The operating points of the main table, side by side.

    The mean over datasets is that of their means; empty for a method that is missing on one.
    """
    points, datasets = operating_points(inputs), inputs.datasets()
    methods = points.drop_duplicates("experiment").set_index("experiment")
    rows = methods[["title", "role"]].copy()
    columns: text.Text = {("", "Method"): methods["title"]}
    kept = [f"{name}_{end}" for name in measures(inputs) for end in ("mean", "sd")]
    shares = f"{shares_heading(inputs.actions)} [%]"
    for dataset in datasets:
        found = of(points, dataset=dataset).set_index("experiment").reindex(rows.index)
        rows[[f"{dataset}_{name}" for name in kept]] = found[kept]
        columns |= text.value(found, "accuracy", (dataset, "Acc. ↑ [%]"), deviation=True)
        columns |= text.value(found, "avg_cost", (dataset, "Cost ↓"))
        columns |= text.shares(found, inputs.actions, heading=(dataset, shares))
    for name in MEANS:
        every = rows[[f"{dataset}_{name}" for dataset in datasets]]
        rows[name] = every.mean(axis="columns", skipna=False)
    columns |= text.value(rows, "accuracy", ("Mean", "Acc. ↑ [%]"))
    columns |= text.value(rows, "avg_cost", ("Mean", "Cost ↓"))
    caption = (
        "One policy on every benchmark, at the operating points of the main table: accuracy "
        "(mean ± standard deviation over seeds), cost, and the shares of the actions "
        f"{words(inputs.actions)}. The last columns are means over the benchmarks."
    )
    return Table(caption, rows.reset_index(), columns)

"""The table over benchmarks: a row per method, a group of columns per dataset, and their mean."""

from vovnet.report import render
from vovnet.report.inputs import Inputs, measures, of, operating_points

ORDER = 20
MEANS = ("accuracy_mean", "avg_cost_mean")


def table(inputs: Inputs) -> render.Table:
    """The operating points of the main table, side by side.

    The mean over datasets is that of their means; empty for a method that is missing on one.
    """
    points, datasets = operating_points(inputs), inputs.datasets()
    methods = points.drop_duplicates("experiment").set_index("experiment", drop=False)
    rows = methods[["title", "role"]].copy()
    columns: render.Text = {("", "Method"): methods["title"]}
    kept = [f"{name}_{end}" for name in measures(inputs) for end in ("mean", "sd")]
    shares = f"{render.shares_heading(inputs.actions)} [%]"
    for dataset in datasets:
        found = of(points, dataset=dataset).set_index("experiment").reindex(rows.index)
        rows[[f"{dataset}_{name}" for name in kept]] = found[kept]
        columns |= render.value(found, "accuracy", (dataset, "Acc. ↑ [%]"), deviation=True)
        columns |= render.value(found, "avg_cost", (dataset, "Cost ↓"))
        columns |= render.shares(found, inputs.actions, heading=(dataset, shares))
    for name in MEANS:
        every = rows[[f"{dataset}_{name}" for dataset in datasets]]
        rows[name] = every.mean(axis="columns", skipna=False)
    columns |= render.value(rows, "accuracy", ("Mean", "Acc. ↑ [%]"))
    columns |= render.value(rows, "avg_cost", ("Mean", "Cost ↓"))
    caption = (
        "One policy on every benchmark, at the operating points of the main table: accuracy "
        "(mean ± standard deviation over seeds), cost, and the shares of the actions "
        f"{render.words(inputs.actions)}. The last columns are means over the benchmarks."
    )
    brief = (
        "One policy on every benchmark, at the operating points of the main table: accuracy (mean ±"
        " standard deviation over seeds) and cost. The last columns are means over the benchmarks."
    )
    short = render.Short(brief, [heading for heading in columns if heading[1] != shares])
    return render.Table(caption, rows.reset_index(), columns, short, inputs.is_main(methods))

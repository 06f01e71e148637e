"""The table over benchmarks: a row per method, a group of columns per dataset, and their mean."""

from __future__ import annotations

import pandas as pd

from vovnet.report.inputs import Inputs, of
from vovnet.report.points import MEASURES, accuracy_text, operating_points, shares_text
from vovnet.report.render import DASH, Table, numbers

MEANS = ("accuracy_mean", "avg_cost_mean")


def cross_benchmark(inputs: Inputs) -> Table:
    """The operating points of the main table, side by side.

    The mean over datasets is that of their means; empty for a method that is missing on one.
    """
    points, datasets = operating_points(inputs), inputs.datasets()
    methods = points.drop_duplicates("experiment").set_index("experiment")
    rows = methods[["title", "role"]].copy()
    text = {("", "Method"): methods["title"]}
    kept = [f"{name}_{end}" for name in MEASURES for end in ("mean", "sd")]
    for dataset in datasets:
        found = of(points, dataset=dataset).set_index("experiment").reindex(rows.index)
        there = found["title"].notna()
        rows[[f"{dataset}_{name}" for name in kept]] = found[kept]
        text |= {
            (dataset, "Acc. ↑ [%]"): accuracy_text(found),
            (dataset, "Cost ↓"): numbers(found["avg_cost_mean"]),
            (dataset, "N / C / F [%]"): shares_text(found).where(there, DASH),
        }
    for name in MEANS:
        every = rows[[f"{dataset}_{name}" for dataset in datasets]]
        rows[name] = every.mean(axis="columns", skipna=False)
    text |= {
        ("Mean", "Acc. ↑ [%]"): numbers(100 * rows["accuracy_mean"]),
        ("Mean", "Cost ↓"): numbers(rows["avg_cost_mean"]),
    }
    caption = (
        "One policy on every benchmark, at the operating points of the main table: accuracy "
        "(mean ± standard deviation over seeds), cost, and the shares of the actions NO, COARSE "
        "and FULL. The last columns are means over the benchmarks."
    )
    frame = pd.DataFrame(text).reset_index(drop=True)
    return Table("cross_benchmark", caption, rows.reset_index(), frame)

"""Gains over the mixing hull: a row per dataset and method; the CSV has one per seed, too."""

import pandas as pd

from vovnet.config import policy_points
from vovnet.evaluation.columns import BY_TEXT, FLOPS, GAIN_SHARES, HULL_SCORES, TOKENS, Unit
from vovnet.report import render
from vovnet.report.inputs import Inputs, of, over_seeds

ORDER = 50
BY = ["dataset", "experiment"]
CAPTURED = {"oracle": "perfect", "expected": "expected", BY_TEXT: "text-only", "bayes": "router"}
"""The references of captured shares -> what they are called in a narrow column."""

ENDINGS: dict[Unit, str] = {TOKENS: "", FLOPS: "_flops"}


def table(inputs: Inputs) -> render.Table:
    rows, counted = _summary(inputs), "by FLOPs ↑"
    columns: render.Text = {("", "Dataset"): rows["dataset"], ("", "Method"): rows["title"]}
    for name, share in GAIN_SHARES.items():
        columns |= render.value(rows, name, ("Gain ↑ [points]", f"at {share:.0%}"), ends=True)
    for name, share in GAIN_SHARES.items():
        heading = (counted, f"at {share:.0%} ")
        columns |= render.value(rows, name, heading, stem=f"{name}_flops", ends=True)
    for group, ending, mark in (("Captured ↑ [%]", "", ""), ("by FLOPs ↑ [%]", "_flops", " ")):
        for name, known in CAPTURED.items():
            stem = f"captured_{name}{ending}"
            columns |= render.value(rows, "captured", (group, known + mark), stem=stem, ends=True)
    for name in ("apgr", "aiq", "mcc"):
        columns |= render.value(rows, name, ("", f"{name.upper()} ↑"))
    caption = (
        "Gain in accuracy over the mixing hull of the fixed policies at 25, 50 and 75% of "
        "FULL's cost, and at these shares of the counted FLOPs that FULL takes beyond not "
        "looking; the share of the area from the hull to a reference that a policy captures: to"
        " a perfect choice by the outcomes themselves; to one by the outcomes of other seeds or"
        " passes; to one by the text, fitted on the set itself; to the router fitted on "
        "training questions (table `references`); once more by FLOPs. Means over seeds with the"
        " 95% interval over questions and seeds (a single seed: over questions only). Intervals of "
        "captured shares are over the resamples in which the reference gains something in every "
        "seed, and empty where in more than 2.5% of all it does not. Average "
        "performance gap recovered (APGR); area under the non-decreasing hull (AIQ); Matthews "
        "correlation of looking with need (MCC). The oracles' own rows are of one point each, "
        "joined to not looking and to FULL by lines."
    )
    policies = {
        name: policy_points(inputs.settings, name)[0].baseline_name or "vovnet"
        for name in inputs.settings.experiments
    }
    kept = pd.concat([inputs.hull, inputs.counted(FLOPS).hull], ignore_index=True)
    kept = kept.drop(columns=["run", "mcc_point"])
    kept = kept.assign(policy=kept["experiment"].map(policies))
    brief = (
        "Gain in accuracy over the mixing hull of the fixed policies at 25, 50 and 75% of FULL's "
        "cost, and at half of the counted FLOPs that FULL takes beyond not looking: means over "
        "seeds with the 95% interval over questions and seeds. Average performance gap recovered "
        "(APGR); Matthews correlation of looking with need (MCC)."
    )
    dear = [(counted, f"at {share:.0%} ") for share in GAIN_SHARES.values() if share != 0.5]
    shares = [heading for heading in columns if heading[0].endswith("[%]")]
    short = render.Short(brief, render.without(columns, *dear, *shares, ("", "AIQ ↑")))
    return render.Table(caption, kept, columns, short, inputs.is_main(rows))


def _summary(inputs: Inputs) -> pd.DataFrame:
    """The metrics over seeds; gains and captured shares with their intervals, where there are."""
    scores = [column.name for column in HULL_SCORES]
    rows = over_seeds(inputs.hull, (*BY, "title", "role"), scores)
    for unit, ending in ENDINGS.items():
        counted = inputs.counted(unit)
        mixing = of(counted.equal_cost, reference="mixing_hull")
        for name in GAIN_SHARES:
            place = of(mixing, at=name.removeprefix("gain_at_"))
            rows = _beside(rows, place, "gain", name + ending)
        for name in CAPTURED:
            captured = of(counted.captured, reference=name)
            rows = _beside(rows, captured, "captured", f"captured_{name}{ending}")
    return rows


def _beside(rows: pd.DataFrame, found: pd.DataFrame, measure: str, stem: str) -> pd.DataFrame:
    """The rows with a measure of others and its interval, under names of their own."""
    names = {f"{measure}{end}": f"{stem}{end}" for end in ("", "_lo", "_hi")}
    told = found[[*BY, *names]].rename(columns=names)
    return rows.merge(told, on=BY, how="left", validate="one_to_one")

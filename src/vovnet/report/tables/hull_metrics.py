"""Gains over the mixing hull: a row per dataset and method; the CSV has one per seed, too."""

from vovnet.config import policy_points
from vovnet.evaluation.columns import GAIN_SHARES
from vovnet.report import render
from vovnet.report.inputs import Inputs, hull_summary

ORDER = 50


def table(inputs: Inputs) -> render.Table:
    rows = hull_summary(inputs)
    columns: render.Text = {("", "Dataset"): rows["dataset"], ("", "Method"): rows["title"]}
    for name, share in GAIN_SHARES.items():
        columns |= render.value(rows, name, ("Gain ↑ [points]", f"at {share:.0%}"), ends=True)
    for name in ("oracle", "bayes"):
        heading = ("Captured ↑ [%]", f"to {name.replace('b', 'B')}")
        columns |= render.value(rows, f"hull_to_{name}_captured", heading)
    for name in ("apgr", "aiq", "mcc"):
        columns |= render.value(rows, name, ("", f"{name.upper()} ↑"))
    caption = (
        "Gain in accuracy over the mixing hull of the fixed policies at 25, 50 and 75% of FULL's "
        "cost, with the paired bootstrap 95% interval (ends averaged over seeds); share of the "
        "area from the hull to the oracle's curve (a perfect choice at every cost, cheap right "
        "answers first) and to the Bayes router's that a policy captures; average performance gap "
        "recovered (APGR); area under the non-decreasing hull (AIQ); Matthews correlation of "
        "looking with need (MCC). The oracles' own rows are of one point each, joined to not "
        "looking and to FULL by lines. Means over seeds."
    )
    policies = {
        name: policy_points(inputs.settings, name)[0].baseline_name or "vovnet"
        for name in inputs.settings.experiments
    }
    kept = inputs.hull.drop(columns=["run", "mcc_point"])
    kept = kept.assign(policy=kept["experiment"].map(policies))
    return render.Table(caption, kept, columns)

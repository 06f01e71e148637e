"""Gains over the mixing hull: a row per dataset and method; the CSV has one per seed, too."""

from __future__ import annotations

import pandas as pd

from vovnet.config import policy_points
from vovnet.evaluation.columns import GAIN_SHARES, HULL_COLUMNS
from vovnet.report import text
from vovnet.report.inputs import Inputs, hull_summary
from vovnet.report.render import Table

ORDER = 50


def table(inputs: Inputs) -> Table:
    rows = hull_summary(inputs)
    columns: text.Text = {("", "Dataset"): rows["dataset"], ("", "Method"): rows["title"]}
    for name, share in GAIN_SHARES.items():
        columns |= text.value(rows, name, ("Gain ↑ [points]", f"at {share:.0%}"), ends=True)
    for name, heading in {
        "hull_to_oracle_captured": ("Captured ↑ [%]", "to oracle"),
        "hull_to_bayes_captured": ("Captured ↑ [%]", "to Bayes"),
        "apgr": ("", "APGR ↑"),
        "aiq": ("", "AIQ ↑"),
        "mcc": ("", "MCC ↑"),
    }.items():
        columns |= text.value(rows, name, heading)
    caption = (
        "Gain in accuracy over the mixing hull of the fixed policies at 25, 50 and 75% of FULL's "
        "cost, with the paired bootstrap 95% interval (ends averaged over seeds); share of the "
        "area from the hull to the oracle's curve (a perfect choice at every cost, cheap right "
        "answers first) and to the Bayes router's that a policy captures; average performance gap "
        "recovered (APGR); area under the non-decreasing hull (AIQ); Matthews correlation of "
        "looking with need (MCC). The oracles' own rows are of one point each, joined to not "
        "looking and to FULL by lines. Means over seeds."
    )
    kept = [name for name in HULL_COLUMNS if name not in ("run", "mcc_point")]
    per_seed = inputs.hull[kept]
    return Table(caption, per_seed.assign(policy=_policies(inputs)), columns)


def _policies(inputs: Inputs) -> pd.Series:
    """The name of each row's policy, `vovnet` for the learned one."""
    names = {
        name: policy_points(inputs.settings, name)[0].baseline_name or "vovnet"
        for name in inputs.settings.experiments
    }
    return inputs.hull["experiment"].map(names)

"""The ablation table: each recipe beside the default, and whether the difference is one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vovnet.config import Settings
from vovnet.config.experiments import ablation_experiments
from vovnet.core.layout import Layout
from vovnet.evaluation.ablations import MEASURES, RATES, compare_ablations
from vovnet.pipeline.manifest import write_manifest
from vovnet.report.inputs import named
from vovnet.report.render import (
    DASH,
    Table,
    intervals,
    numbers,
    texts,
    with_deviation,
    write_table_files,
)

SHORT = {"accuracy": "accuracy", "avg_cost": "cost", "gain_at_50": "gain"}


def write_ablations(settings: Settings, layout: Layout) -> list[Path]:
    """Write ablations.csv, .md and .tex and, last, `ablations.manifest.json`."""
    table = ablations(settings, compare_ablations(settings, layout))
    written = write_table_files(table, layout.paper)
    names = ablation_experiments(settings)
    write_manifest(
        layout.paper / "ablations.manifest.json",
        step="ablation_table",
        settings=settings,
        inputs=named(layout, [layout.eval(name) / "samples.parquet" for name in names]),
        outputs=named(layout, written),
    )
    return written


def ablations(settings: Settings, rows: pd.DataFrame) -> Table:
    """One row per dataset and recipe at `report.target_lambda`, the default first."""
    shares = [numbers(100 * rows[name], digits=0) for name in RATES]
    text = {
        "Dataset": rows["dataset"],
        "Recipe": rows["experiment"].map(lambda name: settings.experiments[name].title),
        "Accuracy ↑ [%]": with_deviation(100 * rows["accuracy_mean"], 100 * rows["accuracy_sd"]),
        "Cost ↓": with_deviation(rows["avg_cost_mean"], rows["avg_cost_sd"]),
        "N / C / F [%]": texts(rows.index, map(" / ".join, zip(*shares, strict=True))),
        "Gain at 50% ↑ [points]": with_deviation(rows["gain_at_50_mean"], rows["gain_at_50_sd"]),
        "Δ accuracy [points]": _difference(rows, "accuracy", 100),
        "Δ cost": _difference(rows, "avg_cost", 1),
        "Δ gain [points]": _difference(rows, "gain_at_50", 1),
        "Beyond": texts(rows.index, (_beyond(row) for _, row in rows.iterrows())),
        "Seeds": rows["num_seeds"].astype(str),
    }
    caption = (
        f"Ablations at λ = {settings.report.target_lambda:g}: means ± standard deviation over "
        "seeds. Δ: recipe minus default over their common seeds, with the paired bootstrap 95% "
        "interval over questions. Beyond: the differences whose interval excludes 0. The interval "
        "covers the choice of questions, not that of seeds, which the deviations show. Gain: "
        "accuracy over random mixing of the recipe's own fixed policies at 50% of FULL's cost."
    )
    return Table("ablations", caption, rows, pd.DataFrame(text))


def _difference(rows: pd.DataFrame, measure: str, scale: float) -> pd.Series:
    name = f"difference_{measure}"
    ends = intervals(scale * rows[f"{name}_lo"], scale * rows[f"{name}_hi"], empty="")
    return (numbers(scale * rows[name]) + " " + ends).str.strip()


def _beyond(row: pd.Series) -> str:
    """The measures that differ, "none" where no one does; a dash for the default."""
    if pd.isna(row["difference_accuracy"]):
        return DASH
    found = [SHORT[name] for name in MEASURES if row[f"difference_{name}_beyond"]]
    return ", ".join(found) or "none"

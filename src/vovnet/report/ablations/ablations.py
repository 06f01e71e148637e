"""A row per dataset and recipe at `report.target_lambda`, the default first."""

import pandas as pd

from vovnet.config import Settings
from vovnet.evaluation.ablations import MEASURES
from vovnet.report import render

ORDER = 100
BRIEF = {"accuracy": "accuracy", "avg_cost": "cost", "gain_at_50": "gain"}


def table(settings: Settings, rows: pd.DataFrame) -> render.Table:
    titles = rows["experiment"].map(lambda name: settings.experiments[name].title)
    columns = (
        {"Dataset": rows["dataset"], "Recipe": titles}
        | render.value(rows, "accuracy", deviation=True)
        | render.value(rows, "avg_cost", deviation=True)
        | render.shares(rows, settings.actions)
        | render.value(rows, "gain_at_50", "Gain at 50% ↑ [points]", deviation=True)
        | _difference(rows, "accuracy", "Δ accuracy [points]")
        | _difference(rows, "avg_cost", "Δ cost")
        | _difference(rows, "gain_at_50", "Δ gain [points]")
        | {"Beyond": render.texts(rows.index, (_beyond(row) for _, row in rows.iterrows()))}
        | render.seeds(rows)
    )
    caption = (
        f"Ablations at λ = {settings.report.target_lambda:g}: means ± standard deviation over "
        "seeds. Δ: recipe minus default over their common seeds, paired, with the 95% interval "
        "over questions and seeds (a single seed: over questions only). Beyond: the differences "
        "that differ from 0 at 5% after Holm's correction for their number in this table. Gain: "
        "accuracy over random mixing of the recipe's own fixed policies at 50% of FULL's cost."
    )
    return render.Table(caption, rows, columns)


def _difference(rows: pd.DataFrame, measure: str, heading: str) -> render.Text:
    return render.value(rows, measure, heading, stem=f"difference_{measure}", ends=True)


def _beyond(row: pd.Series) -> str:
    """The measures that differ, "none" where no one does; a dash for the default."""
    if pd.isna(row["difference_accuracy"]):
        return render.DASH
    found = [BRIEF[name] for name in MEASURES if row[f"difference_{name}_beyond"]]
    return ", ".join(found) or "none"

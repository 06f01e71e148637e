"""A row per dataset and recipe at `report.target_lambda`, the default first."""

import pandas as pd

from vovnet.config import Settings
from vovnet.evaluation.ablations import MEASURES, NOT_INFERIOR
from vovnet.evaluation.columns import NON_INFERIORITY_MARGIN
from vovnet.report import render

ORDER = 100
OTHER_DIFFERENCES = ("Δ accuracy [points]", "Δ cost")
"""The headings of differences that a short table leaves out."""

BRIEF = {"accuracy": "accuracy", "avg_cost": "cost", "gain_at_50": "gain"}


def table(settings: Settings, rows: pd.DataFrame) -> render.Table:
    titles = rows["experiment"].map(lambda name: settings.experiments[name].title)
    columns = (
        {"Dataset": rows["dataset"], "Recipe": titles}
        | render.value(rows, "accuracy", deviation=True)
        | render.value(rows, "avg_cost", deviation=True)
        | render.shares(rows, settings.actions)
        | render.value(rows, "gain_at_50", "Gain at 50% ↑ [points]", deviation=True)
        | _difference(rows, "accuracy", OTHER_DIFFERENCES[0])
        | _difference(rows, "avg_cost", OTHER_DIFFERENCES[1])
        | _difference(rows, "gain_at_50", "Δ gain [points]")
        | {"Beyond": render.texts(rows.index, (_beyond(row) for _, row in rows.iterrows()))}
        | {"No worse": render.texts(rows.index, map(_no_worse, rows[NOT_INFERIOR]))}
        | render.seeds(rows)
    )
    caption = (
        f"Ablations at λ = {settings.report.target_lambda:g}: means ± standard deviation over "
        "seeds. Δ: recipe minus default over their common seeds, paired, with the 95% interval "
        "over questions and seeds (a single seed: over questions only). Beyond: the differences "
        "that differ from 0 at 5% after Holm's correction for their number in this table. No "
        "worse: whether the recipe's lead in gain over the default stays, up to the upper end of "
        f"its interval, below {NON_INFERIORITY_MARGIN:g} point. Gain: "
        "accuracy over random mixing of the recipe's own fixed policies at 50% of FULL's cost."
    )
    brief = (
        f"Ablations at λ = {settings.report.target_lambda:g}: means ± standard deviation over "
        "seeds. Gain: accuracy over random mixing of the recipe's own fixed policies at half of "
        "FULL's cost. Δ: recipe minus default, paired, with the 95% interval over questions and "
        "seeds. Beyond: what differs from 0 at 5% after Holm's correction."
    )
    left_out = (render.shares_heading(settings.actions) + " [%]", *OTHER_DIFFERENCES)
    short = render.Short(brief, render.without(columns, *left_out, "No worse", "Seeds"))
    return render.Table(caption, rows, columns, short, rows["difference_accuracy"].isna())


def _difference(rows: pd.DataFrame, measure: str, heading: str) -> render.Text:
    return render.value(rows, measure, heading, stem=f"difference_{measure}", ends=True)


def _no_worse(value: bool | None) -> str:
    """Whether the default is no worse than a recipe; a dash for the default."""
    return render.DASH if value is None else "yes" if value else "no"


def _beyond(row: pd.Series) -> str:
    """The measures that differ, "none" where no one does; a dash for the default."""
    if pd.isna(row["difference_accuracy"]):
        return render.DASH
    found = [BRIEF[name] for name in MEASURES if row[f"difference_{name}_beyond"]]
    return ", ".join(found) or "none"

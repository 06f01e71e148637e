"""The test of every method at equal cost: against random mixing, and against resolution scaling."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vovnet.report.inputs import Inputs, of
from vovnet.report.render import DASH, Table, intervals, numbers, texts
from vovnet.report.style import (
    BLUE,
    GREY,
    VERMILLION,
    LineStyle,
    legend_below,
    panel_grid,
)

REFERENCES = {"mixing_hull": "mixing", "resolution": "resolution"}
BY = ["dataset", "experiment", "title", "run", "at"]
KEPT = (
    "avg_cost",
    "reference_run",
    "within_range",
    "num_seeds",
    *(f"gain{end}" for end in ("", "_sd", "_lo", "_hi")),
    "verdict",
)
HALF, OWN = "50", "own"
"""Where the verdict is told in words: at half of FULL's cost, a single point at its own."""

LOOKS: dict[str, dict[str, Any]] = {
    "beats": {"color": BLUE, "marker": "o", "markerfacecolor": BLUE},
    "no difference": {"color": GREY, "marker": "s", "markerfacecolor": "white"},
    "loses": {"color": VERMILLION, "marker": "v", "markerfacecolor": VERMILLION},
}
ROW_IN = 0.15
YES = {True: "yes", False: "no"}


def resolution_test(inputs: Inputs) -> Table:
    """A row per dataset, method and cost: both gains with intervals, and the verdict."""
    rows = gains(inputs)
    again = rows["title"].where(~rows.duplicated(["dataset", "experiment"]), "")
    foreign = rows["reference_run_resolution"].notna() & (
        rows["reference_run_resolution"] != rows["run"]
    )
    text = pd.DataFrame(
        {
            "Dataset": rows["dataset"],
            "Method": again
            + texts(rows.index, ("†" if mark else "" for mark in foreign)).where(again != "", ""),
            "At": rows["at"].map(lambda at: "own cost" if at == OWN else f"{at}%"),
            "Cost": numbers(rows["avg_cost"]),
            "Over mixing ↑ [points]": _interval(rows, "mixing"),
            "Over resolution ↑ [points]": _interval(rows, "resolution"),
            "In range": rows["within_range_resolution"].map(YES).fillna(DASH),
            "Resolution scaling": rows["verdict_resolution"].fillna(DASH),
            "Seeds": texts(rows.index, (f"{count:g}" for count in rows["num_seeds_mixing"])),
        }
    )
    caption = (
        "Every method at equal cost against random mixing of the fixed policies and against "
        "resolution scaling: sweeps at 25, 50 and 75% of FULL's cost, single points at their own. "
        "Gain in accuracy, mean over seeds, with the paired bootstrap 95% interval over questions "
        "(not corrected for the number of comparisons). In range: the cost lies between those of "
        "the smallest and the largest image of the sweep; below it, resolution scaling is mixed "
        "with no vision. †: the run has no such sweep, that of VoVNet's run is taken. "
        + sentence(rows)
    )
    return Table("resolution_test", caption, rows, text, long=True)


def gains(inputs: Inputs) -> pd.DataFrame:
    """equal_cost.csv with both references side by side: columns `*_mixing` and `*_resolution`."""
    sides = [
        of(inputs.equal_cost, reference=reference).set_index(BY)[list(KEPT)].add_suffix(f"_{short}")
        for reference, short in REFERENCES.items()
    ]
    rows = sides[0].join(sides[1], how="left").reset_index()
    return rows.assign(at=rows["at"].astype(str), avg_cost=rows["avg_cost_mixing"])


def sentence(rows: pd.DataFrame) -> str:
    """Which methods beat resolution scaling, and which lose to it, on which datasets."""
    told = rows[rows["at"].isin([HALF, OWN])]
    if told["verdict_resolution"].isna().all():
        return "No experiment scales the resolution, so nothing is compared with it."
    told = told[told["verdict_resolution"].notna()]
    lines = []
    for dataset, found in told.groupby("dataset", sort=False):
        beat, lose = (
            "; ".join(of(found, verdict_resolution=verdict)["title"]) or "none"
            for verdict in ("beats", "loses")
        )
        lines.append(f"On {dataset} these beat it: {beat}. These lose to it: {lose}.")
    return (
        "Against resolution scaling at equal cost (half of FULL's for sweeps, their own for "
        f"single points). {' '.join(lines)} For all others there is no difference."
    )


def resolution_figure(inputs: Inputs) -> Figure:
    """A panel per dataset: each method's gain over resolution scaling, with its interval.

    At half of FULL's cost, for single points at their own.
    """
    rows = gains(inputs)
    rows = rows[rows["at"].isin([HALF, OWN]) & rows["verdict_resolution"].notna()]
    datasets = list(dict.fromkeys(rows["dataset"]))
    names = list(dict.fromkeys(rows["experiment"]))
    titles = rows.drop_duplicates("experiment").set_index("experiment").apply(_label, axis=1)
    figure, panels = panel_grid(len(datasets), height_in=0.6 + ROW_IN * len(names))
    for axes, dataset in zip(panels, datasets, strict=True):
        axes.axvline(0, color=GREY, lw=0.8, zorder=1)
        for _, row in of(rows, dataset=dataset).iterrows():
            _draw_gain(axes, len(names) - 1 - names.index(row["experiment"]), row)
        labels = [titles[name] for name in reversed(names)] if axes is panels[0] else []
        axes.set_yticks(range(len(names)), labels or [""] * len(names))
        axes.set_ylim(-0.7, len(names) - 0.3)
        axes.set_title(dataset)
        axes.set_xlabel("Gain [points]")
    handles = [
        Line2D([], [], linestyle="none", ms=4, label=label, **look) for label, look in LOOKS.items()
    ]
    handles.append(Line2D([], [], color=GREY, lw=1, linestyle=":", label="Cost out of its range"))
    legend_below(figure, handles, columns=len(handles))
    return figure


def _draw_gain(axes: Axes, place: int, row: pd.Series) -> None:
    look: dict[str, Any] = LOOKS[row["verdict_resolution"]]
    line: LineStyle = "-" if row["within_range_resolution"] else ":"
    ends = (row["gain_lo_resolution"], row["gain_hi_resolution"])
    axes.plot(ends, (place, place), color=look["color"], lw=1.1, linestyle=line, zorder=2)
    axes.plot(row["gain_resolution"], place, linestyle="none", ms=3.5, zorder=3, **look)


def _label(row: pd.Series) -> str:
    return f"{row['title']} ({'own cost' if row['at'] == OWN else '50%'})"


def _interval(rows: pd.DataFrame, reference: str) -> pd.Series:
    ends = intervals(rows[f"gain_lo_{reference}"], rows[f"gain_hi_{reference}"], empty="")
    return (numbers(rows[f"gain_{reference}"]) + " " + ends).str.strip()

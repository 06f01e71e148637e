"""The figure of every method's gain over resolution scaling at equal cost."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vovnet.report import style
from vovnet.report.inputs import HALF, OWN, Inputs, equal_cost_places, of
from vovnet.report.style import BLUE, GREY, VERMILLION

ORDER = 60
LOOKS: dict[str, dict[str, Any]] = {
    "beats": {"color": BLUE, "marker": "o", "markerfacecolor": BLUE},
    "undecided": {"color": GREY, "marker": "s", "markerfacecolor": "white"},
    "loses": {"color": VERMILLION, "marker": "v", "markerfacecolor": VERMILLION},
}
LABELS = {"undecided": "undecided: the interval contains 0"}
NO_VERDICT: dict[str, Any] = {"color": GREY, "marker": "x"}
ROW_IN = 0.15


def figure(inputs: Inputs) -> Figure | None:
    """A panel per dataset: each method's gain over resolution scaling, with its interval.

    At half of FULL's cost, for single points at their own.
    """
    rows = equal_cost_places(inputs)
    rows = rows[rows["at"].isin([HALF, OWN]) & rows["gain_resolution"].notna()]
    if rows.empty:
        return None
    datasets = list(dict.fromkeys(rows["dataset"]))
    names = list(dict.fromkeys(rows["experiment"]))
    costs = rows["at"].map(lambda at: "own cost" if at == OWN else "50%")
    titles = dict(zip(rows["experiment"], rows["title"] + " (" + costs + ")", strict=True))
    height_in = 0.6 + ROW_IN * len(names)
    made, panels = style.panel_grid(len(datasets), height_in, x_label="Gain [points]", narrow=1)
    for axes, dataset in zip(panels, datasets, strict=True):
        axes.axvline(0, color=GREY, lw=0.8, zorder=1)
        for _, row in of(rows, dataset=dataset).iterrows():
            _draw_gain(axes, len(names) - 1 - names.index(row["experiment"]), row)
        axes.set_yticks(range(len(names)), [titles[name] for name in reversed(names)])
        axes.tick_params(labelleft=style.is_left(axes))
        axes.set_ylim(-0.7, len(names) - 0.3)
        axes.set_title(dataset)
    handles = [
        style.handle(LABELS.get(verdict, verdict), linestyle="none", ms=4, **look)
        for verdict, look in LOOKS.items()
    ]
    if rows["verdict_resolution"].isna().any():
        handles.append(style.handle("no verdict: one seed", linestyle="none", ms=4, **NO_VERDICT))
    handles.append(style.handle("Cost out of its range", color=GREY, lw=1, linestyle=":"))
    style.legend_below(made, handles, columns=len(handles))
    return made


def _draw_gain(axes: Axes, place: int, row: pd.Series) -> None:
    look: dict[str, Any] = LOOKS.get(row["verdict_resolution"], NO_VERDICT)
    line: style.LineStyle = "-" if row["within_range_resolution"] else ":"
    ends = (row["gain_lo_resolution"], row["gain_hi_resolution"])
    axes.plot(ends, (place, place), color=look["color"], lw=1.1, linestyle=line, zorder=2)
    axes.plot(row["gain_resolution"], place, linestyle="none", ms=3.5, zorder=3, **look)

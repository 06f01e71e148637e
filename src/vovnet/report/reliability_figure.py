"""The reliability figure: what the policy head says against what happens, a column per dataset."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vovnet.report.inputs import of
from vovnet.report.render import number
from vovnet.report.style import (
    BLUE,
    GREY,
    STYLE,
    TICK_STEPS,
    VERMILLION,
    label_left,
    legend_below,
    panel_grid,
)

COLORS = {"action": VERMILLION, "value": BLUE}
Y_LABELS = {"action": "Share that is the best action", "value": "Share in which FULL is right"}


def reliability_figure(calibration: pd.DataFrame, kinds: Mapping[str, str]) -> Figure:
    """A row of panels per kind of prediction; each seed is a line over its bins."""
    datasets = list(dict.fromkeys(calibration["dataset"]))
    figure, panels = panel_grid(len(kinds) * max(1, len(datasets)), 2.35, columns=len(datasets))
    places = [(kind, dataset) for kind in kinds for dataset in datasets]
    for axes, (kind, dataset) in zip(panels, places, strict=False):
        rows = of(calibration, dataset=dataset, kind=kind)
        _draw(axes, rows, COLORS[kind])
        error = number(rows["ece"].mean(), digits=3)
        axes.set_title(f"{dataset}\nECE {error}", fontsize=STYLE["axes.labelsize"])
        axes.set_xlabel("Predicted probability")
    for kind, start in zip(kinds, range(0, len(panels), max(1, len(datasets))), strict=False):
        label_left(panels[start : start + 1], Y_LABELS[kind])
    handles = [Line2D([], [], color=GREY, linestyle="--", lw=0.8, label="Perfect calibration")]
    handles += [
        Line2D([], [], color=COLORS[kind], marker="o", lw=0.7, label=f"{name} (a seed)")
        for kind, name in kinds.items()
    ]
    legend_below(figure, handles, columns=len(handles))
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, color: str) -> None:
    """Areas tell the share of the questions that a bin holds; a set may have no bin at all."""
    axes.plot((0, 1), (0, 1), color=GREY, linestyle="--", lw=0.8, zorder=1)
    for bins in rows["bins"]:
        seed = pd.DataFrame(bins, columns=["predicted", "measured", "count"], dtype=float)
        places = (seed["predicted"], seed["measured"])
        axes.plot(*places, color=color, lw=0.6, alpha=0.7)
        areas = 4 + 60 * seed["count"] / max(1, seed["count"].sum())
        axes.scatter(*places, s=areas, color=color, alpha=0.6, lw=0, zorder=3)
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(-0.04, 1.04)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=TICK_STEPS))

"""The reliability figure: what happens by what the policy head says, a column per dataset.

No diagonal is drawn: neither the probability of an action nor a difference of scores is a
probability of what is measured (see vovnet.evaluation.head_quality).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vovnet.report.inputs import of
from vovnet.report.reliability._errors import KINDS, Errors
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

ORDER = 110
COLORS = {"action": VERMILLION, "value": BLUE}
X_LABELS = {"action": "Probability", "value": "Predicted value [nats]"}
Y_LABELS = {"action": "Share that is the best action", "value": "Accuracy of FULL minus NO"}


def figure(errors: Errors) -> Figure:
    """A row of panels per kind of prediction of the first experiment; each seed is a line."""
    first = errors.predictions["experiment"].iloc[:1].tolist()
    predictions = errors.predictions[errors.predictions["experiment"].isin(first)]
    datasets = list(dict.fromkeys(predictions["dataset"]))
    made, panels = panel_grid(len(KINDS) * max(1, len(datasets)), 2.35, columns=len(datasets))
    places = [(kind, dataset) for kind in KINDS for dataset in datasets]
    for axes, (kind, dataset) in zip(panels, places, strict=False):
        rows = of(predictions, dataset=dataset, kind=kind)
        _draw(axes, rows, kind)
        area = number(rows["auc"].mean(), digits=3)
        axes.set_title(f"{dataset}\nAUC {area}", fontsize=STYLE["axes.labelsize"])
        axes.set_xlabel(X_LABELS[kind])
    for kind, start in zip(KINDS, range(0, len(panels), max(1, len(datasets))), strict=False):
        label_left(panels[start : start + 1], Y_LABELS[kind])
    handles = [
        Line2D([], [], color=COLORS[kind], marker="o", lw=0.7, label=f"{name} (a seed)")
        for kind, name in KINDS.items()
    ]
    legend_below(made, handles, columns=len(handles))
    return made


def _draw(axes: Axes, rows: pd.DataFrame, kind: str) -> None:
    """Areas tell the share of the questions that a bin holds; a set may have no bin at all."""
    color = COLORS[kind]
    for bins in rows["bins"]:
        seed = pd.DataFrame(bins, columns=["predicted", "measured", "count"], dtype=float)
        places = (seed["predicted"], seed["measured"])
        axes.plot(*places, color=color, lw=0.6, alpha=0.7)
        areas = 4 + 60 * seed["count"] / max(1, seed["count"].sum())
        axes.scatter(*places, s=areas, color=color, alpha=0.6, lw=0, zorder=3)
    if kind == "action":
        axes.set_xlim(-0.04, 1.04)
        axes.set_ylim(-0.04, 1.04)
    else:
        axes.axhline(0, color=GREY, lw=0.8, zorder=1)
        axes.set_ylim(-1.08, 1.08)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=TICK_STEPS))

"""The reliability figure: what happens by what the policy head says, a column per dataset.

No diagonal is drawn: neither the probability of an action nor a difference of scores is a
probability of what is measured (see vovnet.evaluation.error_slices).
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vovnet.report import style
from vovnet.report.inputs import of
from vovnet.report.reliability import KINDS, Errors
from vovnet.report.render import number
from vovnet.report.style import BLUE, GREY, VERMILLION

ORDER = 110
COLORS = {"action": VERMILLION, "value": BLUE}
X_LABELS = {"action": "Probability", "value": "Predicted value [nats]"}
Y_LABELS = {"action": "Share that is the best action", "value": "Accuracy of FULL minus NO"}


def figure(errors: Errors) -> Figure:
    """A row of panels per kind of prediction of the first point; each seed is a line."""
    if errors.predictions.empty:
        return style.words_alone("No experiment with slices follows a policy head")
    first = errors.predictions[["experiment", "point"]].iloc[0]
    predictions = of(errors.predictions, **first)
    datasets = list(dict.fromkeys(predictions["dataset"]))
    places = style.crossed(list(KINDS), datasets)
    made, panels = style.panel_grid(len(places), 2.35, len(datasets))
    for axes, (kind, dataset) in zip(panels, places, strict=True):
        rows = of(predictions, dataset=dataset, kind=kind)
        _draw(axes, rows, kind)
        area = number(rows["auc"].mean(), digits=3)
        axes.set_title(f"{dataset}\nAUC {area}", fontsize=style.STYLE["axes.labelsize"])
        axes.set_xlabel(X_LABELS[kind])
        if style.is_narrow() or dataset == datasets[0]:
            axes.set_ylabel(Y_LABELS[kind])
    handles = [
        style.handle(f"{name} (a seed)", color=COLORS[kind], marker="o", lw=0.7)
        for kind, name in KINDS.items()
    ]
    style.legend_below(made, handles, columns=len(handles))
    return made


def _draw(axes: Axes, rows: pd.DataFrame, kind: str) -> None:
    """Areas tell the share of the questions that a bin holds; a set may have no bin at all."""
    color = COLORS[kind]
    for bins in rows["bins"]:
        seed = pd.DataFrame(bins, columns=["predicted", "measured", "count"], dtype=float)
        style.draw_bins(axes, seed, color)
    if kind == "action":
        axes.set_xlim(-0.04, 1.04)
        axes.set_ylim(-0.04, 1.04)
    else:
        axes.axhline(0, color=GREY, lw=0.8, zorder=1)
        axes.set_ylim(-1.08, 1.08)
    for axis in (axes.xaxis, axes.yaxis):
        style.ticks(axis, 5)

"""Reliability diagrams of heads fitted afterwards: a row per head, a column per dataset.

Here the diagonal is drawn: the expected correctness is to be the one that is measured.
"""

import pandas as pd
from matplotlib.figure import Figure

from vovnet.report import style
from vovnet.report.inputs import of
from vovnet.report.reliability import Errors
from vovnet.report.render import label
from vovnet.report.style import GREY

ORDER = 120


def figure(errors: Errors) -> Figure:
    """Each line is a seed's, in the colour of its action; areas are shares of the questions."""
    if errors.heads.empty:
        return style.words_alone("No experiment follows a head that was fitted afterwards")
    datasets = list(dict.fromkeys(errors.by_dataset(errors.heads)["dataset"]))
    names = list(dict.fromkeys(errors.heads["experiment"]))
    actions = list(dict.fromkeys(errors.heads["action"]))
    colors = {action: look.color for action, look in style.action_looks(actions).items()}
    places = style.crossed(names, datasets)
    made, panels = style.panel_grid(
        len(places), 2.2, len(datasets), "Expected correctness", "Mean score", min(len(names), 2)
    )
    for axes, (name, dataset) in zip(panels, places, strict=True):
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, zorder=1)
        rows = of(errors.heads, experiment=name, dataset=dataset)
        for action, bins in zip(rows["action"], rows["bins"], strict=True):
            seed = pd.DataFrame(bins, columns=["predicted", "measured", "count"], dtype=float)
            style.draw_bins(axes, seed, colors[action])
        title = f"{errors.settings.experiments[name].title}\n{dataset}"
        axes.set_title(title, fontsize=style.STYLE["axes.labelsize"])
        for axis in (axes.xaxis, axes.yaxis):
            style.ticks(axis, 5)
    handles = [
        style.handle(f"{label(action)} (a seed)", color=colors[action], marker="o", lw=0.7)
        for action in actions
    ]
    style.legend_below(made, handles, columns=len(handles))
    return made

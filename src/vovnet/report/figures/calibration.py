"""What the head says that looking is worth against what it was worth, a panel per pair of views."""

from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vovnet.report import style
from vovnet.report.inputs import Inputs, of
from vovnet.report.render import label
from vovnet.report.style import GREY, VERMILLION
from vovnet.report.training_logs import load_calibration

ORDER = 40


def figure(inputs: Inputs) -> Figure | None:
    if inputs.trained_main_run() is None:
        return None
    bins = load_calibration(inputs)
    every = {f"{dear}-{cheap}": (dear, cheap) for cheap, dear in combinations(inputs.actions, 2)}
    pairs = {name: pair for name, pair in every.items() if name in set(bins["pair"])}
    if not pairs:
        return style.words_alone("Not measured: training.calibration_samples is 0")
    x_label, y_label = "Predicted [nats]", "Measured [nats]"
    made, panels = style.panel_grid(len(pairs), 2.3, x_label=x_label, y_label=y_label)
    for axes, (pair, (dear, cheap)) in zip(panels, pairs.items(), strict=True):
        rows = of(bins, pair=pair)
        _draw_calibration(axes, rows[rows["count"] > 0])
        scores = rows.drop_duplicates("seed")[["slope", "ece"]].mean()
        title = (
            f"{label(dear)} instead of {label(cheap)}\n"
            f"slope {scores['slope']:.2f}, ECE {scores['ece']:.2f} nats"
        )
        axes.set_title(title, fontsize=style.STYLE["axes.labelsize"])
    handles = [
        style.handle("Perfect calibration", color=GREY, linestyle="--", lw=0.8),
        style.handle("A seed (area: share of samples)", color=VERMILLION, marker="o", lw=0.7),
    ]
    style.legend_below(made, handles, columns=2)
    return made


def _draw_calibration(axes: Axes, rows: pd.DataFrame) -> None:
    """Bins of every seed with the diagonal; equal units on both axes."""
    values = rows[["predicted", "measured"]].to_numpy()
    margin = 0.06 * max(float(np.ptp(values)), 1e-3)
    ends = (float(values.min()) - margin, float(values.max()) + margin)
    axes.plot(ends, ends, color=GREY, linestyle="--", lw=0.8, zorder=1)
    for _, seed in rows.groupby("seed"):
        style.draw_bins(axes, seed.sort_values("predicted"), VERMILLION)
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_aspect("equal")
    style.ticks(axes.xaxis, 5)
    style.ticks(axes.yaxis, 5)

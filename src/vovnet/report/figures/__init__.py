"""The paper's figures, from results only.

Every figure is as wide as the text of a two-column paper and is written as PDF and PNG.
Lines are means over seeds, thin lines single seeds.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vovnet.config import Settings
from vovnet.core.layout import Layout
from vovnet.evaluation.columns import MIXING_HULL
from vovnet.report.discovery import load
from vovnet.report.inputs import Inputs, finish, load_inputs, of, over_seeds
from vovnet.report.style import draw_and_save, handle, legend_below, panel_grid, ticks
from vovnet.report.training_logs import calibration_files, train_logs

ENDS = ("accuracy", "accuracy_lo", "accuracy_hi")
"""An accuracy and the ends of its interval."""


def write_figures(settings: Settings, layout: Layout) -> list[Path]:
    """Draw every figure and, last, write `figures/manifest.json`; returns the figures' files."""
    inputs, folder = load_inputs(settings, layout), layout.paper / "figures"
    written: list[Path] = []
    for name, module in load("vovnet.report.figures").items():
        written += draw_and_save(module.figure, inputs, folder, name)
    trained = inputs.trained_main_run()
    logs = [path for path, _, _ in train_logs(inputs, *trained)] if trained else []
    read = [*inputs.files, *logs, *calibration_files(inputs).values()]
    return finish(folder / "manifest.json", "figures", settings, layout, read, written)


# ---- panels and curves of accuracy over vision tokens, which several figures draw ----------


def curve_panels(inputs: Inputs, draw: Callable[[Axes, Inputs, str], Iterable[Line2D]]) -> Figure:
    """A panel per dataset, in which `draw` draws the lines that the legend names."""
    datasets = inputs.datasets()
    x_label, y_label = "Average vision tokens", "Accuracy [%]"
    figure, panels = panel_grid(len(datasets), 2.2, x_label=x_label, y_label=y_label)
    legend: dict[str, Line2D] = {}
    for axes, dataset in zip(panels, datasets, strict=True):
        for line in draw(axes, inputs, dataset):
            legend.setdefault(str(line.get_label()), line)
        axes.margins(x=0.08, y=0.08)
        axes.set_title(dataset)
        ticks(axes.yaxis, 6)
    legend_below(figure, list(legend.values()), columns=3)
    return figure


def frontier_of(inputs: Inputs, dataset: str, name: str) -> pd.DataFrame:
    """The mean over seeds of the curve of an experiment, on a grid of costs that all reach.

    Empty where it has none: of an experiment without a frontier its points are all there is.
    """
    rows = of(inputs.curves, dataset=dataset, experiment=name)
    curves = [item.sort_values(["avg_cost", "accuracy"]) for _, item in rows.groupby("seed")]
    if name != MIXING_HULL and not (rows["scalar"].notna().any()):
        return pd.DataFrame(columns=["tokens", *ENDS])
    low = max(curve["avg_cost"].iloc[0] for curve in curves)
    high = min(curve["avg_cost"].iloc[-1] for curve in curves)
    grid = np.linspace(low, high, 201)
    means = {
        key: np.mean([np.interp(grid, curve["avg_cost"], curve[key]) for curve in curves], axis=0)
        for key in ENDS
    }
    return pd.DataFrame({"tokens": grid / inputs.settings.policy.cost_scale} | means)


def curve_of(inputs: Inputs, dataset: str, name: str) -> pd.DataFrame:
    """The points of an experiment, averaged over its seeds, cheapest first."""
    rows = of(inputs.points, dataset=dataset, experiment=name)
    curve = over_seeds(rows, ["point"], [], [*ENDS, "avg_vision_tokens"])
    curve = curve.rename(columns={"avg_vision_tokens": "tokens"})
    return curve.sort_values("tokens", kind="stable")


def draw_method(
    axes: Axes, inputs: Inputs, dataset: str, name: str, band: float = 0, **look: Any
) -> Line2D:
    """The frontier of an experiment as a curve, with the points of its sweep as markers."""
    points, frontier = curve_of(inputs, dataset, name), frontier_of(inputs, dataset, name)
    title = inputs.settings.experiments[name].title
    if frontier.empty:
        return draw_line(axes, points, title, band, **look)
    draw_line(axes, frontier, "_nolegend_", band, **look | {"marker": ""})
    draw_line(axes, points, title, **look | {"linestyle": "none"})
    return handle(title, **look)


def draw_line(axes: Axes, curve: pd.DataFrame, label: str, band: float = 0, **look: Any) -> Line2D:
    """A curve, whose label the legend shows; `band` is the opacity of its 95% interval."""
    (line,) = axes.plot(curve["tokens"], 100 * curve["accuracy"], label=label, **look)
    if band:
        low, high = 100 * curve["accuracy_lo"], 100 * curve["accuracy_hi"]
        filled: dict[str, Any] = {"color": look["color"], "alpha": band, "lw": 0, "zorder": 1}
        axes.fill_between(curve["tokens"], low, high, **filled)
    return line


def replayed(inputs: Inputs) -> dict[str, str]:
    """Replayed experiments on the run that figures are about -> their `baseline_name`."""
    run, _ = inputs.main_run()
    rows = of(inputs.points, mode="replay", run=run)
    return dict(zip(rows["experiment"], rows["baseline_name"], strict=True))


def chooses(inputs: Inputs, name: str) -> bool:
    """Whether an experiment chooses among the actions, and does not show a view of its own."""
    return bool(of(inputs.points, experiment=name)["action_rate_no"].notna().any())

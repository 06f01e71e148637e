"""The paper's figures, from results only.

Every figure is written as PDF and PNG: as wide as the text of a two-column paper and, under a name
that ends in `_column`, as wide as one of its columns, with letters of the same size.
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

from vovnet.config import Settings, run_settings
from vovnet.core.layout import Layout
from vovnet.evaluation.columns import FLOPS, TOKENS, Unit, rate_columns
from vovnet.report.discovery import load
from vovnet.report.inputs import Inputs, finish, load_inputs, of, over_seeds
from vovnet.report.style import (
    MAX_COLUMNS,
    draw_and_save,
    handle,
    is_narrow,
    legend_below,
    panel_grid,
    ticks,
)
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


# ---- panels and curves of accuracy over cost, which several figures draw -------------------

AXES: dict[Unit, tuple[str, str, float]] = {
    TOKENS: ("Vision tokens per question", "avg_vision_tokens", 1.0),
    FLOPS: ("GFLOPs per question\n(text pass, tower, language model)", "avg_flops", 1e-9),
}
"""Unit of cost -> label of its axis, its column of results.csv, and the scale of that."""

Draw = Callable[[Axes, Inputs, str, Unit], Iterable[Line2D]]
"""Draws a dataset in a unit of cost; returns the lines that the legend names."""


def curve_panels(inputs: Inputs, draw: Draw) -> Figure:
    """A panel per dataset by vision tokens, and below them one by FLOPs where these are counted."""
    datasets = inputs.datasets()
    units = [unit for unit in AXES if not inputs.counted(unit).curves.empty] or [TOKENS]
    columns = min(len(datasets), MAX_COLUMNS) if len(datasets) > 1 else len(units)
    padded = [*datasets, *[None] * (-len(datasets) % columns if len(datasets) > 1 else 0)]
    places: list[tuple[Unit, str | None]]
    places = [(unit, dataset) for unit in units for dataset in padded]
    if is_narrow():
        places = [(unit, dataset) for dataset in datasets for unit in units]
    figure, panels = panel_grid(
        len(places), 2.2, columns, y_label="Accuracy [%]", narrow=len(units)
    )
    legend: dict[str, Line2D] = {}
    for axes, (unit, dataset) in zip(panels, places, strict=True):
        if dataset is None:
            axes.set_axis_off()
            continue
        for line in draw(axes, inputs, dataset, unit):
            legend.setdefault(str(line.get_label()), line)
        axes.margins(x=0.08, y=0.08)
        axes.set_xlabel(AXES[unit][0].partition("\n")[0] if is_narrow() else AXES[unit][0])
        axes.set_title(dataset)
        ticks(axes.yaxis, 6)
    legend_below(figure, list(legend.values()), columns=3)
    return figure


def frontier_of(inputs: Inputs, dataset: str, name: str, unit: Unit) -> pd.DataFrame:
    """The mean over seeds of the whole curve of an experiment, on a grid of costs.

    It goes as far as the seed that spends most; the others stay where their own curve ends. Empty
    where it has none: of an experiment without a frontier its points are all there is.
    """
    rows = of(inputs.counted(unit).curves, dataset=dataset, experiment=name)
    curves = [item.sort_values(["avg_cost", "accuracy"]) for _, item in rows.groupby("seed")]
    is_point = name in inputs.settings.experiments and not rows["scalar"].notna().any()
    if not curves or is_point:
        return pd.DataFrame(columns=["cost", *ENDS])
    low = max(curve["avg_cost"].iloc[0] for curve in curves)
    high = max(curve["avg_cost"].iloc[-1] for curve in curves)
    grid = np.linspace(low, high, 201)
    means = {
        key: np.mean([np.interp(grid, curve["avg_cost"], curve[key]) for curve in curves], axis=0)
        for key in ENDS
    }
    return pd.DataFrame({"cost": drawn_cost(inputs, name, grid, unit)} | means)


def drawn_cost(inputs: Inputs, name: str, costs: Any, unit: Unit) -> Any:
    """Costs of a curve in curves.csv as they are drawn: vision tokens, or GFLOPs.

    They are in the unit of the experiment's run; those of a bound in that of the main run.
    """
    stanza = inputs.settings.experiments.get(name)
    run = inputs.main_run()[0] if stanza is None else stanza.run
    paid = run_settings(inputs.settings, run).policy.cost_scale if unit == TOKENS else 1
    return costs * AXES[unit][2] / paid


def curve_of(inputs: Inputs, dataset: str, name: str, unit: Unit) -> pd.DataFrame:
    """The points of an experiment, averaged over its seeds, cheapest first."""
    _, column, scale = AXES[unit]
    rows = of(inputs.points, dataset=dataset, experiment=name)
    curve = over_seeds(rows, ["point"], [], [*ENDS, column])
    return curve.assign(cost=scale * curve[column]).sort_values("cost", kind="stable")


def draw_method(
    axes: Axes, inputs: Inputs, dataset: str, name: str, unit: Unit, band: float = 0, **look: Any
) -> Line2D:
    """The frontier of an experiment as a curve, with the points of its sweep as markers."""
    points = curve_of(inputs, dataset, name, unit)
    frontier = frontier_of(inputs, dataset, name, unit)
    title = inputs.settings.experiments[name].title
    if frontier.empty:
        return draw_line(axes, points, title, band, **look)
    draw_line(axes, frontier, "_nolegend_", band, **look | {"marker": ""})
    draw_line(axes, points, title, **look | {"linestyle": "none"})
    return handle(title, **look)


def draw_line(axes: Axes, curve: pd.DataFrame, label: str, band: float = 0, **look: Any) -> Line2D:
    """A curve, whose label the legend shows; `band` is the opacity of its 95% interval."""
    (line,) = axes.plot(curve["cost"], 100 * curve["accuracy"], label=label, **look)
    if band:
        low, high = 100 * curve["accuracy_lo"], 100 * curve["accuracy_hi"]
        filled: dict[str, Any] = {"color": look["color"], "alpha": band, "lw": 0, "zorder": 1}
        axes.fill_between(curve["cost"], low, high, **filled)
    return line


def replayed(inputs: Inputs) -> dict[str, str]:
    """Replayed experiments on the run that figures are about -> their `baseline_name`."""
    run, _ = inputs.main_run()
    rows = of(inputs.points, mode="replay", run=run)
    return dict(zip(rows["experiment"], rows["baseline_name"], strict=True))


def chooses(inputs: Inputs, name: str) -> bool:
    """Whether an experiment chooses among the actions, and does not show a view of its own."""
    return bool(of(inputs.points, experiment=name)[rate_columns(inputs.actions)[0]].notna().any())

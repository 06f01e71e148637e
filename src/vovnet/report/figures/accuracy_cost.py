"""The main figure: accuracy against vision tokens, a panel per dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vovnet.report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    TICK_STEPS,
    VERMILLION,
    label_left,
    legend_below,
    panel_grid,
)
from vovnet.report.inputs import MIXING_HULL, Inputs, of, over_seeds

FIXED = {
    "no_vision": ("NO", (6, -1), "left"),
    "always_coarse": ("COARSE", (5, -5), "left"),
    "always_full": ("FULL", (0, -10), "center"),
}
"""Baseline -> its label, where that stands from the point (in pt), and how it is aligned."""

THRESHOLDS: tuple[dict[str, Any], ...] = (
    {"color": SKY, "marker": "^", "linestyle": "-"},
    {"color": GREEN, "marker": "v", "linestyle": "-."},
    {"color": ORANGE, "marker": "D", "linestyle": ":"},
    {"color": PURPLE, "marker": "P", "linestyle": (0, (4, 1, 1, 1))},
)
SINGLE: dict[str, dict[str, Any]] = {
    "bayes_router": {"color": BLUE, "linestyle": "--", "marker": "s", "ms": 2.2, "zorder": 3},
    "size_router": {"color": GREY, "linestyle": ":", "marker": "p", "ms": 2.5, "lw": 0.8},
    "dataset_router": {"color": GREY, "linestyle": "--", "marker": "h", "ms": 2.5, "lw": 0.8},
    "random_policy_matched": {"color": GREY, "marker": "x", "linestyle": "none", "zorder": 4},
    "oracle": {"color": BLACK, "marker": "*", "ms": 5, "linestyle": "none", "zorder": 7},
    "oracle_full_correct": {
        "color": BLACK,
        "marker": "*",
        "ms": 10,
        "markerfacecolor": "white",
        "markeredgewidth": 0.8,
        "linestyle": "none",
        "zorder": 6,
    },
}
"""Baseline -> how its points are drawn."""

MAX_PERCENT = 103


def accuracy_cost(inputs: Inputs) -> Figure:
    """VoVNet, the mixing hull and the baselines; lines are means over seeds."""
    datasets = inputs.datasets()
    figure, panels = panel_grid(len(datasets), height_in=2.2)
    legend: dict[str, Line2D] = {}
    for axes, dataset in zip(panels, datasets, strict=True):
        drawn = [
            *_draw_vovnet(axes, inputs, dataset),
            *_draw_hull(axes, inputs, dataset),
            *_draw_thresholds(axes, inputs, dataset),
            *_draw_others(axes, inputs, dataset),
        ]
        for line in drawn:
            legend.setdefault(str(line.get_label()), line)
        _draw_fixed(axes, inputs, dataset)
        axes.margins(x=0.08, y=0.08)
        axes.set_ylim(top=min(axes.get_ylim()[1], MAX_PERCENT))
        axes.set_title(dataset)
        axes.set_xlabel("Average vision tokens")
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=TICK_STEPS))
    label_left(panels, "Accuracy [%]")
    legend_below(figure, list(legend.values()), columns=3)
    return figure


def _draw_vovnet(axes: Axes, inputs: Inputs, dataset: str) -> list[Line2D]:
    name = inputs.main(dataset)
    if name is None:
        return []
    for _, rows in of(inputs.points, dataset=dataset, experiment=name).groupby("seed"):
        rows = rows.sort_values("avg_vision_tokens")
        thin: dict[str, Any] = {"color": VERMILLION, "lw": 0.5, "alpha": 0.6, "zorder": 4}
        axes.plot(rows["avg_vision_tokens"], 100 * rows["accuracy"], **thin)
    curve = _curve(inputs, dataset, name)
    tokens, low, high = curve["tokens"], 100 * curve["accuracy_lo"], 100 * curve["accuracy_hi"]
    axes.fill_between(tokens, low, high, color=VERMILLION, alpha=0.18, lw=0, zorder=1)
    label = f"{_title(inputs, name)} (band: 95% interval; thin: seeds)"
    return [_line(axes, curve, label, color=VERMILLION, marker="o", lw=1.6, zorder=5)]


def _draw_hull(axes: Axes, inputs: Inputs, dataset: str) -> list[Line2D]:
    """The hull of each seed, averaged on a grid of costs."""
    rows = of(inputs.curves, dataset=dataset, experiment=MIXING_HULL)
    if rows.empty:
        return []
    grid = np.linspace(rows["avg_cost"].min(), rows["avg_cost"].max(), 201)
    hulls = []
    for _, hull in rows.groupby("seed"):
        hull = hull.sort_values(["avg_cost", "accuracy"])
        hulls.append(np.interp(grid, hull["avg_cost"], hull["accuracy"]))
    mean = pd.DataFrame(
        {"tokens": grid / inputs.settings.policy.cost_scale, "accuracy": np.mean(hulls, axis=0)}
    )
    return [_line(axes, mean, "Random mixing of NO, COARSE, FULL", color=BLACK, lw=1, zorder=2)]


def _draw_thresholds(axes: Axes, inputs: Inputs, dataset: str) -> list[Line2D]:
    lines = []
    for index, name in enumerate(_comparable(inputs, "uncertainty_threshold")):
        curve = _curve(inputs, dataset, name)
        look = THRESHOLDS[index % len(THRESHOLDS)]
        lines.append(_line(axes, curve, _title(inputs, name), lw=0.9, ms=3, zorder=3, **look))
    return lines


def _draw_others(axes: Axes, inputs: Inputs, dataset: str) -> list[Line2D]:
    lines = []
    for baseline, look in SINGLE.items():
        for name in _comparable(inputs, baseline):
            match = inputs.settings.experiments[name].match
            marker = {"marker": "+"} if match is not None and match.buckets is not None else {}
            lines.append(
                _line(axes, _curve(inputs, dataset, name), _title(inputs, name), **look | marker)
            )
    return lines


def _draw_fixed(axes: Axes, inputs: Inputs, dataset: str) -> None:
    """The three fixed policies, labelled below the hull, where no good policy lies."""
    for baseline, (label, offset, align) in FIXED.items():
        for name in _comparable(inputs, baseline)[:1]:
            curve = _curve(inputs, dataset, name)
            _line(axes, curve, label, marker="s", ms=4.5, color=BLACK, linestyle="none", zorder=6)
            text = axes.annotate(
                label,
                (curve["tokens"].iloc[0], 100 * curve["accuracy"].iloc[0]),
                xytext=offset,
                textcoords="offset points",
                ha=align,
                va="center" if baseline == "no_vision" else "top",
                zorder=8,
            )
            text.set_path_effects([patheffects.withStroke(linewidth=2, foreground="white")])


def _line(axes: Axes, curve: pd.DataFrame, label: str, **look: Any) -> Line2D:
    (line,) = axes.plot(curve["tokens"], 100 * curve["accuracy"], label=label, **look)
    return line


def _curve(inputs: Inputs, dataset: str, name: str) -> pd.DataFrame:
    """The points of an experiment, averaged over its seeds, cheapest first."""
    rows = of(inputs.points, dataset=dataset, experiment=name)
    averages = ["accuracy", "accuracy_lo", "accuracy_hi", "avg_vision_tokens"]
    curve = over_seeds(rows, ["point"], [], averages).rename(
        columns={"avg_vision_tokens": "tokens"}
    )
    return curve.sort_values("tokens", kind="stable")


def _comparable(inputs: Inputs, baseline: str) -> list[str]:
    """Replayed experiments of a baseline on the run of VoVNet."""
    run, _ = inputs.main_run()
    stanzas = inputs.settings.experiments
    return [name for name in inputs.experiments(baseline) if stanzas[name].run == run]


def _title(inputs: Inputs, name: str) -> str:
    return inputs.settings.experiments[name].title

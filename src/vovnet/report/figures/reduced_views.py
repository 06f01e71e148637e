"""The figure of reduced views: fewer vision tokens for every image, against choosing when to look.

A panel per dataset, accuracy over average vision tokens. Lines are means over seeds. Bands are 95%
intervals, averaged over seeds, of VoVNet and of resolution scaling.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vovnet.report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    TICK_STEPS,
    VERMILLION,
    label_left,
    legend_below,
    panel_grid,
)
from vovnet.report.inputs import Inputs, of, over_seeds

PROXIES = (
    "resolution_scaling_proxy",
    "multi_granularity_proxy",
    "token_merge_prune_proxy",
    "vision_token_pruning_proxy",
)
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "s", "linestyle": "-"},
    {"color": GREEN, "marker": "v", "linestyle": "-."},
    {"color": PURPLE, "marker": "P", "linestyle": (0, (4, 1, 1, 1))},
    {"color": ORANGE, "marker": "D", "linestyle": ":"},
    {"color": SKY, "marker": "^", "linestyle": "--"},
    {"color": BLACK, "marker": "x", "linestyle": "--"},
)


def reduced_views(inputs: Inputs) -> Figure:
    """Every sweep over reduced views of VoVNet's run, and VoVNet with and without a reduction."""
    datasets = inputs.datasets()
    figure, panels = panel_grid(len(datasets), height_in=2.2)
    legend: dict[str, Line2D] = {}
    for axes, dataset in zip(panels, datasets, strict=True):
        banded = [inputs.main(dataset), *inputs.experiments("resolution_scaling_proxy")]
        for name, look in _sweeps(inputs, dataset):
            curve = _curve(inputs, dataset, name)
            title = inputs.settings.experiments[name].title
            line = _draw(axes, curve, title, look)
            legend.setdefault(title, line)
            if name in banded:
                _draw_band(axes, curve, look["color"])
        axes.margins(x=0.08, y=0.08)
        axes.set_title(dataset)
        axes.set_xlabel("Average vision tokens")
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=TICK_STEPS))
    label_left(panels, "Accuracy [%]")
    legend_below(figure, list(legend.values()), columns=3)
    return figure


def _sweeps(inputs: Inputs, dataset: str) -> list[tuple[str, dict[str, Any]]]:
    """Experiments and how they look: VoVNet first, then its reductions, then the proxies."""
    run, _ = inputs.main_run()
    stanzas = inputs.settings.experiments
    main = inputs.main(dataset)
    learned = [name for name in inputs.experiments("", dataset=dataset) if stanzas[name].run == run]
    inside = [name for name in learned if stanzas[name].policy.get("baseline_reduction")]
    proxies = [
        name
        for proxy in PROXIES
        for name in inputs.experiments(proxy, dataset=dataset)
        if stanzas[name].run == run
    ]
    drawn: list[tuple[str, dict[str, Any]]] = []
    if main is not None:
        drawn.append((main, {"color": VERMILLION, "marker": "o", "lw": 1.6, "zorder": 5}))
    for index, name in enumerate(inside):
        style = ("--", ":")[index % 2]
        look = {"color": VERMILLION, "marker": "o", "ms": 2.5, "linestyle": style, "zorder": 4}
        drawn.append((name, look))
    for index, name in enumerate(proxies):
        drawn.append((name, {"lw": 0.9, "ms": 3, "zorder": 3} | LOOKS[index % len(LOOKS)]))
    return drawn


def _draw(axes: Axes, curve: pd.DataFrame, label: str, look: dict[str, Any]) -> Line2D:
    (line,) = axes.plot(curve["tokens"], 100 * curve["accuracy"], label=label, **look)
    return line


def _draw_band(axes: Axes, curve: pd.DataFrame, color: str) -> None:
    low, high = 100 * curve["accuracy_lo"], 100 * curve["accuracy_hi"]
    axes.fill_between(curve["tokens"], low, high, color=color, alpha=0.15, lw=0, zorder=1)


def _curve(inputs: Inputs, dataset: str, name: str) -> pd.DataFrame:
    """The points of an experiment, averaged over its seeds, cheapest first."""
    rows = of(inputs.points, dataset=dataset, experiment=name)
    averages = ["accuracy", "accuracy_lo", "accuracy_hi", "avg_vision_tokens"]
    curve = over_seeds(rows, ["point"], [], averages)
    curve = curve.rename(columns={"avg_vision_tokens": "tokens"})
    return curve.sort_values("tokens", kind="stable")

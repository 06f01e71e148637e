"""The paper's figures, from results only.

Every figure is as wide as the text of a two-column paper and is written as PDF and PNG.
Lines are means over seeds, thin lines single seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from vovnet.config import Settings
from vovnet.core.layout import Layout
from vovnet.pipeline.manifest import write_manifest
from vovnet.report.figures.accuracy_cost import accuracy_cost
from vovnet.report.figures.equal_cost import resolution_figure
from vovnet.report.figures.live_runs import profile_figure
from vovnet.report.figures.reduced_views import PROXIES, reduced_views
from vovnet.report.figures.style import (
    ACTION_COLORS,
    ACTION_HATCHES,
    ACTION_LINES,
    GREY,
    STYLE,
    TICK_STEPS,
    VERMILLION,
    LineStyle,
    label_left,
    legend_below,
    panel_grid,
    paper_style,
    save,
)
from vovnet.report.inputs import (
    Inputs,
    calibration_files,
    load_calibration,
    load_inputs,
    load_train_log,
    named,
    of,
    over_seeds,
    train_logs,
)
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

PAIRS = ("coarse-no", "full-no", "full-coarse")
SMOOTHING = 0.04
"""Share of a stage over which the running mean of a training curve is taken."""


def write_figures(settings: Settings, layout: Layout) -> list[Path]:
    """Draw every figure and, last, `figures/manifest.json`; returns the figures' files."""
    inputs = load_inputs(settings, layout)
    folder = layout.paper / "figures"
    figures: dict[str, Callable[[Inputs], Figure]] = {
        "accuracy_cost": accuracy_cost,
        "action_ratio": action_ratio,
        "training": training,
        "calibration": calibration,
    }
    if inputs.experiments(*PROXIES):
        figures["reduced_views"] = reduced_views
    if (inputs.equal_cost["reference"] == "resolution").any():
        figures["resolution_test"] = resolution_figure
    if (inputs.points["mode"] == "live").any():
        figures["profiling"] = profile_figure
    written = []
    with paper_style():
        for name, draw in figures.items():
            written += save(draw(inputs), folder, name)
    run, seeds = inputs.main_run()
    logs = [path for path, _, _ in train_logs(settings, layout, run, seeds)]
    read = [*logs, *calibration_files(settings, layout, run, seeds)]
    write_manifest(
        folder / "manifest.json",
        step="figures",
        settings=settings,
        inputs=inputs.files() | named(layout, read),
        outputs=named(layout, written),
    )
    return written


# ---- shares of the actions ---------------------------------------------------------------


def action_ratio(inputs: Inputs) -> Figure:
    """A panel per dataset: VoVNet's shares of NO, COARSE and FULL at every lambda."""
    datasets = [name for name in inputs.datasets() if inputs.main(name) is not None]
    figure, panels = panel_grid(len(datasets), height_in=1.75)
    for axes, dataset in zip(panels, datasets, strict=True):
        rows = of(inputs.points, dataset=dataset, experiment=inputs.main(dataset))
        rates = {action: f"action_rate_{action}" for action in ACTIONS}
        shares = over_seeds(rows, ["lambda_cost"], [], rates.values()).sort_values("lambda_cost")
        bottom = np.zeros(len(shares))
        for action, rate in rates.items():
            height = 100 * shares[rate].to_numpy()
            axes.bar(range(len(shares)), height, bottom=bottom, **_bar_look(action))
            bottom += height
        axes.set_xticks(range(len(shares)), [_value(item) for item in shares["lambda_cost"]])
        axes.set_ylim(0, 100)
        axes.grid(False, axis="x")
        axes.set_title(dataset)
        axes.set_xlabel(r"$\lambda_\mathrm{cost}$ [nats per unit of cost]")
    label_left(panels, "Share of questions [%]")
    handles = [Patch(**_bar_look(action), label=action.upper()) for action in ACTIONS]
    legend_below(figure, handles, columns=len(handles))
    return figure


def _bar_look(action: str) -> dict[str, Any]:
    return {
        "facecolor": ACTION_COLORS[action],
        "hatch": ACTION_HATCHES[action],
        "edgecolor": "white",
        "linewidth": 0,
    }


# ---- training ----------------------------------------------------------------------------


def training(inputs: Inputs) -> Figure:
    """VoVNet's training: the loss of both stages, then shares and expected cost in stage 2."""
    run, seeds = inputs.main_run()
    log = load_train_log(inputs.settings, inputs.layout, run, seeds)
    first, second = (of(log, folder_stage=stage) for stage in (1, 2))
    figure, panels = panel_grid(4, height_in=1.75, columns=4)
    _draw_log(panels[0], first, "loss", VERMILLION)
    _draw_log(panels[1], second, "loss", VERMILLION)
    for name in ACTIONS:
        shares = second.assign(percent=100 * second[f"action_share_{name}"])
        _draw_log(panels[2], shares, "percent", ACTION_COLORS[name], ACTION_LINES[name])
    panels[2].set_ylim(-2, 102)
    _draw_log(panels[3], second, "expected_cost", VERMILLION)
    titles = ("Stage 1: loss", "Stage 2: loss", "Stage 2: action shares [%]", "Stage 2: cost")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
        axes.set_xlabel("Step")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=TICK_STEPS))
    handles = [
        Line2D([], [], color=VERMILLION, lw=1.4, label="Mean over seeds (running means)"),
        Line2D([], [], color=VERMILLION, lw=0.5, alpha=0.6, label="Single seeds"),
    ]
    handles += [
        Line2D([], [], color=ACTION_COLORS[name], linestyle=ACTION_LINES[name], label=name.upper())
        for name in ACTIONS
    ]
    legend_below(figure, handles, columns=len(handles))
    return figure


def _draw_log(
    axes: Axes, log: pd.DataFrame, column: str, color: str, line_style: LineStyle = "-"
) -> None:
    """Running means of a logged value: each seed thin, their mean thick."""
    table = log.pivot(index="step", columns="seed", values=column).dropna(how="all")
    window = max(1, round(SMOOTHING * len(table)))
    smooth = table.rolling(window, min_periods=1, center=True).mean()
    for seed in smooth.columns:
        axes.plot(smooth.index, smooth[seed], color=color, lw=0.5, alpha=0.6)
    axes.plot(smooth.index, smooth.mean(axis=1), color=color, linestyle=line_style, lw=1.4)


# ---- calibration -------------------------------------------------------------------------


def calibration(inputs: Inputs) -> Figure:
    """What the head says that looking is worth against what it was worth, per pair of views."""
    run, seeds = inputs.main_run()
    bins = load_calibration(inputs.settings, inputs.layout, run, seeds)
    pairs = sorted(set(bins["pair"]), key=_pair_rank)
    figure, panels = panel_grid(max(1, len(pairs)), height_in=2.3)
    if not pairs:
        panels[0].text(0.5, 0.5, "Not measured: training.calibration_samples is 0", ha="center")
        panels[0].set_axis_off()
        return figure
    for axes, pair in zip(panels, pairs, strict=True):
        rows = of(bins, pair=pair)
        _draw_calibration(axes, rows[rows["count"] > 0])
        scores = rows.drop_duplicates("seed")[["slope", "ece"]].mean()
        dear, cheap = pair.upper().split("-")
        title = (
            f"{dear} instead of {cheap}\nslope {scores['slope']:.2f}, ECE {scores['ece']:.2f} nats"
        )
        axes.set_title(title, fontsize=STYLE["axes.labelsize"])
        axes.set_xlabel("Predicted value [nats]")
    label_left(panels, "Measured value [nats]")
    handles = [
        Line2D([], [], color=GREY, linestyle="--", lw=0.8, label="Perfect calibration"),
        Line2D(
            [], [], color=VERMILLION, marker="o", lw=0.7, label="A seed (area: share of samples)"
        ),
    ]
    legend_below(figure, handles, columns=2)
    return figure


def _draw_calibration(axes: Axes, rows: pd.DataFrame) -> None:
    """Bins of every seed with the diagonal; equal units on both axes."""
    values = rows[["predicted", "measured"]].to_numpy()
    margin = 0.06 * max(float(np.ptp(values)), 1e-3)
    ends = (float(values.min()) - margin, float(values.max()) + margin)
    axes.plot(ends, ends, color=GREY, linestyle="--", lw=0.8, zorder=1)
    for _, seed in rows.groupby("seed"):
        seed = seed.sort_values("predicted")
        places = (seed["predicted"], seed["measured"])
        areas = 4 + 60 * seed["count"] / seed["count"].sum()
        axes.plot(*places, color=VERMILLION, lw=0.6, alpha=0.7)
        axes.scatter(*places, s=areas, color=VERMILLION, alpha=0.6, lw=0, zorder=3)
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_aspect("equal")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=TICK_STEPS))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=TICK_STEPS))


def _pair_rank(pair: str) -> tuple[int, str]:
    return (PAIRS.index(pair) if pair in PAIRS else len(PAIRS), pair)


def _value(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:g}"

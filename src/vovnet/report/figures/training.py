"""VoVNet's training: the loss of both stages, then shares and expected cost in stage 2."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vovnet.report import style
from vovnet.report.inputs import Inputs, of
from vovnet.report.render import label
from vovnet.report.style import VERMILLION
from vovnet.report.training_logs import load_train_log

ORDER = 30
SMOOTHING = 0.04
"""Share of a stage over which the running mean of a training curve is taken."""


def figure(inputs: Inputs) -> Figure | None:
    trained = inputs.trained_main_run()
    if trained is None:
        return None
    log = load_train_log(inputs, *trained)
    first, second = (of(log, folder_stage=stage) for stage in (1, 2))
    made, panels = style.panel_grid(4, height_in=1.75, columns=4, x_label="Step")
    _draw_log(panels[0], first, "loss", VERMILLION)
    _draw_log(panels[1], second, "loss", VERMILLION)
    looks = style.action_looks(inputs.actions)
    for action, look in looks.items():
        shares = second.assign(percent=100 * second[f"action_share_{action}"])
        _draw_log(panels[2], shares, "percent", look.color, look.line)
    panels[2].set_ylim(-2, 102)
    _draw_log(panels[3], second, "expected_cost", VERMILLION)
    titles = ("Stage 1: loss", "Stage 2: loss", "Stage 2: action shares [%]", "Stage 2: cost")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
        style.ticks(axes.xaxis, 4, integer=True)
    handles = [
        style.handle("Mean over seeds (running means)", color=VERMILLION, lw=1.4),
        style.handle("Single seeds", color=VERMILLION, lw=0.5, alpha=0.6),
    ]
    for action, look in looks.items():
        handles.append(style.handle(label(action), color=look.color, linestyle=look.line))
    style.legend_below(made, handles, columns=5)
    return made


def _draw_log(
    axes: Axes, log: pd.DataFrame, column: str, color: str, line_style: style.LineStyle = "-"
) -> None:
    """Running means of a logged value: each seed thin, their mean thick."""
    table = log.pivot(index="step", columns="seed", values=column).dropna(how="all")
    window = max(1, round(SMOOTHING * len(table)))
    smooth = table.rolling(window, min_periods=1, center=True).mean()
    for seed in smooth.columns:
        axes.plot(smooth.index, smooth[seed], color=color, lw=0.5, alpha=0.6)
    axes.plot(smooth.index, smooth.mean(axis=1), color=color, linestyle=line_style, lw=1.4)

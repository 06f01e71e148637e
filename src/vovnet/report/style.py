"""How the figures look: Okabe-Ito colours, sizes for a two-column paper, reproducible files."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vovnet.core.files import atomic_path

TEXT_WIDTH_IN = 7.0
LEGEND_ROW_IN = 0.15
MAX_COLUMNS = 3

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#777777"

LineStyle = Literal["-", "--", "-.", ":"] | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Look:
    """How what belongs together is drawn: bars by colour and hatch, lines by their style."""

    color: str
    hatch: str = ""
    line: LineStyle = "-"

    @property
    def bar(self) -> dict[str, Any]:
        return {"facecolor": self.color, "hatch": self.hatch, "edgecolor": "white", "linewidth": 0}


NAMED_LOOKS = {
    "no": Look(SKY),
    "coarse": Look(ORANGE, "////", "--"),
    "full": Look(BLUE, "....", ":"),
}
FURTHER_LOOKS = (
    Look(GREEN, "\\\\\\\\", "-."),
    Look(PURPLE, "xxxx", (0, (4, 1, 1, 1))),
    Look(GREY, "----", (0, (6, 2))),
    Look(BLACK, "||||", (0, (3, 1, 1, 1, 1, 1))),
    Look(VERMILLION, "++++", (0, (1, 2))),
)
"""Looks of the actions that have none of their own, in their order; then from the start again."""

STYLE: dict[Any, Any] = {
    **dict.fromkeys(["font.size", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"], 7),
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    **dict.fromkeys(["axes.linewidth", "xtick.major.width", "ytick.major.width"], 0.6),
    **dict.fromkeys(["axes.spines.top", "axes.spines.right", "legend.frameon"], False),
    **dict.fromkeys(["axes.grid", "axes.axisbelow", "figure.constrained_layout.use"], True),
    "grid.color": "#E5E5E5",
    **dict.fromkeys(["grid.linewidth", "hatch.linewidth"], 0.5),
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.handlelength": 2.4,
    "savefig.dpi": 300,
    **dict.fromkeys(["pdf.fonttype", "ps.fonttype"], 42),
}


@contextmanager
def paper_style() -> Iterator[None]:
    """The figures' style on top of matplotlib's own defaults, whatever the user's are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def panel_grid(
    count: int, height_in: float, columns: int = MAX_COLUMNS, x_label: str = "", y_label: str = ""
) -> tuple[Figure, list[Axes]]:
    """A figure of the text width: `count` panels in rows of `columns`, the left ones labelled."""
    columns = min(columns, max(count, 1))
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(TEXT_WIDTH_IN, rows * height_in))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for number, axes in enumerate(panels):
        axes.set_xlabel(x_label)
        axes.set_ylabel("" if number % columns else y_label)
    for unused in panels[count:]:
        unused.set_axis_off()
    return figure, panels[:count]


def words_alone(text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure, (axes,) = panel_grid(1, 1.0)
    axes.text(0.5, 0.5, text, ha="center")
    axes.set_axis_off()
    return figure


def ticks(axis: Axis, count: int, *, integer: bool = False) -> None:
    """At most `count` ticks more than one, at round values."""
    axis.set_major_locator(MaxNLocator(count, integer=integer, steps=[1, 2, 5, 10]))


def handle(label: str, **look: Any) -> Line2D:
    """A line or marker for the legend alone."""
    return Line2D([], [], label=label, **look)


def draw_bins(axes: Axes, bins: pd.DataFrame, color: str) -> None:
    """One seed's bins, `predicted` over `measured`: an area is the share of questions in a bin."""
    places = (bins["predicted"], bins["measured"])
    axes.plot(*places, color=color, lw=0.6, alpha=0.7)
    areas = 4 + 60 * bins["count"] / max(1, bins["count"].sum())
    axes.scatter(*places, s=areas, color=color, alpha=0.6, lw=0, zorder=3)


def legend_below(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    """A legend under all panels, for which the figure grows."""
    rows = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW_IN * (rows + 1))
    figure.legend(
        handles=list(handles), loc="outside lower center", ncols=columns, columnspacing=1.5
    )


def action_looks(actions: Sequence[str]) -> dict[str, Look]:
    """How each action is drawn: NO, COARSE and FULL always alike, others in their order."""
    further = [action for action in actions if action not in NAMED_LOOKS]
    looks = dict(zip(further, cycle(FURTHER_LOOKS), strict=False))
    return {action: NAMED_LOOKS.get(action) or looks[action] for action in actions}


def draw_and_save(
    draw: Callable[[Any], Figure | None], inputs: Any, folder: Path, name: str
) -> list[Path]:
    """Draw a figure in the paper's style and write it; nothing where it has nothing to show."""
    with paper_style():
        figure = draw(inputs)
        return [] if figure is None else save(figure, folder, name)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write PDF and PNG without dates, so that equal figures are equal bytes."""
    without_dates = {".pdf": {"CreationDate": None, "ModDate": None}, ".png": {"Software": None}}
    for suffix, metadata in without_dates.items():
        with atomic_path(folder / (name + suffix)) as partial:
            figure.savefig(partial, format=suffix[1:], metadata=metadata)
    return [folder / (name + suffix) for suffix in without_dates]

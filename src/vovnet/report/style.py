"""How the figures look: Okabe-Ito colours, sizes for a two-column paper, reproducible files."""

import math
import textwrap
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
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vovnet.core.files import atomic_path

WIDTHS_IN = {"": 7.0, "_column": 3.3}
"""How a figure's name ends -> its width: that of a two-column page's text, or of one column."""

MAX_COLUMNS = 3
LABEL_CHARACTERS, TITLE_CHARACTERS = 26, 24
"""Where labels of the legend and titles are broken in a figure that is one column wide."""

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
def paper_style(width_in: float = WIDTHS_IN[""]) -> Iterator[None]:
    """The figures' style on top of matplotlib's own defaults, whatever the user's are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | {"figure.figsize": (width_in, width_in)})
        yield


def is_narrow() -> bool:
    """Whether the figure that is drawn is as wide as one column of a page."""
    return bool(matplotlib.rcParams["figure.figsize"][0] <= WIDTHS_IN["_column"])


def panel_grid(
    count: int,
    height_in: float,
    columns: int = MAX_COLUMNS,
    x_label: str = "",
    y_label: str = "",
    narrow: int = 2,
) -> tuple[Figure, list[Axes]]:
    """`count` panels in rows of `columns`, the left ones labelled.

    `narrow` is how many stand beside each other in a figure of one column; what is then narrower
    than usual is lower, too.
    """
    width_in = matplotlib.rcParams["figure.figsize"][0]
    usual_in = WIDTHS_IN[""] / max(columns, MAX_COLUMNS)
    columns = min(columns, max(count, 1), narrow if is_narrow() else columns)
    rows = math.ceil(count / columns)
    height_in *= min(1, width_in / columns / usual_in)
    figure = Figure(figsize=(width_in, rows * height_in))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for number, axes in enumerate(panels):
        axes.set_xlabel(x_label)
        axes.set_ylabel("" if number % columns else y_label)
    for unused in panels[count:]:
        unused.set_axis_off()
    return figure, panels[:count]


def is_left(axes: Axes) -> bool:
    """Whether a panel is the first of its row."""
    place = axes.get_subplotspec()
    return place is not None and place.is_first_col()


def crossed(rows: Sequence[str], columns: Sequence[str]) -> list[tuple[str, str]]:
    """The panels of a table of them, row by row; rows are its columns in a narrow figure."""
    if is_narrow():
        return [(row, column) for column in columns for row in rows]
    return [(row, column) for row in rows for column in columns]


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
    """A legend under all panels, for which the figure grows, in as many columns as it is wide."""
    place: dict[str, Any] = {"loc": "outside lower center", "columnspacing": 1.5}
    labels = [str(handle.get_label()) for handle in handles]
    if is_narrow():
        labels = [textwrap.fill(label, LABEL_CHARACTERS) for label in labels]
    renderer = FigureCanvasAgg(figure).get_renderer()
    for count in range(columns, 0, -1):
        legend = figure.legend(list(handles), labels, ncols=count, **place)
        box = legend.get_window_extent(renderer)
        if box.width <= figure.bbox.width or count == 1:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def action_looks(actions: Sequence[str]) -> dict[str, Look]:
    """How each action is drawn: NO, COARSE and FULL always alike, others in their order."""
    further = [action for action in actions if action not in NAMED_LOOKS]
    looks = dict(zip(further, cycle(FURTHER_LOOKS), strict=False))
    return {action: NAMED_LOOKS.get(action) or looks[action] for action in actions}


def draw_and_save(
    draw: Callable[[Any], Figure | None], inputs: Any, folder: Path, name: str
) -> list[Path]:
    """Draw a figure in each width and write it; nothing where it has nothing to show."""
    written = []
    for ending, width_in in WIDTHS_IN.items():
        with paper_style(width_in):
            figure = draw(inputs)
            if figure is not None:
                _break_titles(figure)
                written += save(figure, folder, name + ending)
    return written


def _break_titles(figure: Figure) -> None:
    """Break long lines of titles where panels are narrow."""
    for axes in figure.axes if is_narrow() else []:
        lines = axes.get_title().splitlines()
        broken = (textwrap.wrap(line, TITLE_CHARACTERS, break_long_words=False) for line in lines)
        axes.title.set_text("\n".join(line for part in broken for line in part))


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write PDF and PNG without dates, so that equal figures are equal bytes."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, so that both are alike
    without_dates = {".pdf": {"CreationDate": None, "ModDate": None}, ".png": {"Software": None}}
    for suffix, metadata in without_dates.items():
        with atomic_path(folder / (name + suffix)) as partial:
            figure.savefig(partial, format=suffix[1:], metadata=metadata)
    return [folder / (name + suffix) for suffix in without_dates]

"""Gantt charts of schedules: when each job holds which device, one panel for each schedule."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from vovnet.commands.plan.schedules import Schedule
from vovnet.report import style

PANEL_IN = 1.35
COLORS = (style.BLUE, style.SKY, style.ORANGE, style.GREEN, style.VERMILLION, style.PURPLE)
CPU_ROW = -1


def draw_gantt(
    schedules: Sequence[Schedule], gpus: int, bound_s: float, folder: Path, name: str
) -> list[Path]:
    """Draw one panel for each schedule over a common time axis; a line marks the lower bound."""
    stages = _gpu_stages(schedules)
    colors = {stage: COLORS[index % len(COLORS)] for index, stage in enumerate(stages)}
    longest_s = max(item.shortest_s for item in schedules)
    unit, seconds = time_unit(longest_s)
    with style.paper_style():
        figure, panels = style.panel_grid(len(schedules), PANEL_IN, columns=1)
        for panel, schedule in zip(panels, schedules, strict=True):
            _draw_panel(panel, schedule, gpus, colors, seconds)
            panel.axvline(bound_s / seconds, color=style.GREY, linestyle="--", linewidth=0.8)
            factor = f"{schedule.shortest_s / bound_s:.3f} times the lower bound"
            panel.set_xlim(0, longest_s * 1.01 / seconds)
            panel.set_title(
                f"{schedule.name}: {schedule.shortest_s / seconds:,.1f} {unit}, {factor}",
                loc="left",
            )
        panels[-1].set_xlabel(f"time in {unit}; dashed: lower bound")
        handles = [Patch(color=color, label=stage) for stage, color in colors.items()]
        handles.append(Patch(color=style.GREY, label="jobs without a GPU"))
        style.legend_below(figure, handles, style.MAX_COLUMNS)
        return style.save(figure, folder, name)


def time_unit(longest_s: float) -> tuple[str, float]:
    """The largest unit of which a schedule lasts at least two: its name and its seconds."""
    for name, seconds in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if longest_s >= 2 * seconds:
            return name, seconds
    return "seconds", 1.0


def _gpu_stages(schedules: Sequence[Schedule]) -> list[str]:
    spans = sorted(schedules[0].spans, key=lambda span: span.start_s)
    return list(dict.fromkeys(span.task.stage for span in spans if span.devices))


def _draw_panel(
    panel: Axes, schedule: Schedule, gpus: int, colors: dict[str, str], seconds: float
) -> None:
    """Draw the devices from top to bottom, and below them one row for jobs without a GPU."""
    places: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
    for span in schedule.spans:
        place = (span.start_s / seconds, (span.end_s - span.start_s) / seconds)
        color = colors[span.task.stage] if span.devices else style.GREY
        for row in span.devices or (CPU_ROW,):
            places[row, color].append(place)
    for (row, color), placed in places.items():
        edge = {"linewidth": 0} if row == CPU_ROW else {"edgecolor": "white", "linewidth": 0.2}
        panel.broken_barh(placed, (row - 0.4, 0.8), facecolor=color, **edge)
    panel.set_ylim(gpus - 0.4, CPU_ROW - 0.6)
    panel.set_yticks([CPU_ROW, *range(gpus)], ["CPU", *(f"GPU {number}" for number in range(gpus))])
    panel.tick_params(axis="y", labelsize=5, length=0)
    panel.xaxis.set_major_locator(MaxNLocator(8))
    panel.grid(visible=False, axis="y")

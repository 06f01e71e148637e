"""The main figure: accuracy against vision tokens and against FLOPs, a panel per dataset each.

A line is the whole frontier of a policy, and its markers are the points of the specification.
"""

from functools import partial
from itertools import cycle
from typing import Any

from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vovnet.evaluation.columns import BY_TEXT, MIXING_HULL, TEXT_REFERENCE, Unit
from vovnet.report.figures import (
    chooses,
    curve_of,
    curve_panels,
    draw_line,
    draw_method,
    drawn_cost,
    frontier_of,
    replayed,
)
from vovnet.report.inputs import Inputs, of
from vovnet.report.render import label
from vovnet.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    LineStyle,
)

ORDER = 10

PLACES = {"no": ((6, -1), "left", "center"), "full": ((0, -10), "center", "top")}
OTHER_PLACE = ((5, -5), "left", "top")
"""Action -> where its label stands from its point (in pt), and how it is aligned there."""

LOOKS: tuple[dict[str, Any], ...] = (
    {"color": SKY, "marker": "^", "linestyle": "-"},
    {"color": GREEN, "marker": "v", "linestyle": "-."},
    {"color": ORANGE, "marker": "D", "linestyle": ":"},
    {"color": PURPLE, "marker": "P", "linestyle": (0, (4, 1, 1, 1))},
    {"color": GREEN, "marker": "d", "linestyle": (0, (1, 2))},
    {"color": PURPLE, "marker": "<", "linestyle": (0, (5, 2))},
    {"color": ORANGE, "marker": ">", "linestyle": (0, (3, 1, 1, 1, 1, 1))},
    {"color": SKY, "marker": "X", "linestyle": (0, (6, 1))},
    {"color": BLUE, "marker": "H", "linestyle": (0, (2, 1))},
    {"color": GREEN, "marker": "*", "linestyle": (0, (8, 2, 1, 2))},
    {"color": PURPLE, "marker": "8", "linestyle": (0, (1, 1))},
    {"color": ORANGE, "marker": "1", "linestyle": (0, (10, 2))},
)
"""How thresholds are drawn, and after them the policies that this module does not know."""

SINGLE: dict[str, dict[str, Any]] = {
    "bayes_router": {"color": BLUE, "linestyle": "--", "marker": "s", "ms": 2.2, "zorder": 3},
    "size_router": {"color": GREY, "linestyle": ":", "marker": "p", "ms": 2.5, "lw": 0.8},
    "dataset_router": {"color": GREY, "linestyle": "--", "marker": "h", "ms": 2.5, "lw": 0.8},
    "probe": {"color": GREEN, "linestyle": "-", "marker": "v", "ms": 2.2, "lw": 0.8},
    "bag_of_words": {"color": GREEN, "linestyle": "--", "marker": "D", "ms": 2, "lw": 0.8},
    "nearest_neighbours": {"color": GREEN, "linestyle": ":", "marker": "P", "ms": 2.5, "lw": 0.8},
    "random_policy_matched": {"color": GREY, "marker": "x", "linestyle": "none", "zorder": 4},
    "oracle": {"color": BLACK, "marker": "*", "ms": 5, "linestyle": "none", "zorder": 7},
    "oracle_full_correct": {"color": BLACK, "marker": "*", "ms": 10, "linestyle": "none"}
    | {"markerfacecolor": "white", "markeredgewidth": 0.8, "zorder": 6},
}
"""Baseline -> how its points are drawn."""

MAX_PERCENT = 103


def figure(inputs: Inputs) -> Figure:
    made = curve_panels(inputs, _draw)
    for axes in made.axes:
        axes.set_ylim(top=min(axes.get_ylim()[1], MAX_PERCENT))
    return made


def _draw(axes: Axes, inputs: Inputs, dataset: str, unit: Unit) -> list[Line2D]:
    lines = [*_draw_vovnet(axes, inputs, dataset, unit), *_draw_bounds(axes, inputs, dataset, unit)]
    for name, look in looks_of(inputs).items():
        lines.append(draw_method(axes, inputs, dataset, name, unit, **look))
    _draw_fixed(axes, inputs, dataset, unit)
    return lines


def _draw_vovnet(axes: Axes, inputs: Inputs, dataset: str, unit: Unit) -> list[Line2D]:
    name = inputs.main(dataset)
    if name is None:
        return []
    curves = of(inputs.counted(unit).curves, dataset=dataset, experiment=name)
    for _, rows in curves.groupby("seed"):
        rows = rows.sort_values(["avg_cost", "accuracy"])
        thin: dict[str, Any] = {"color": VERMILLION, "lw": 0.5, "alpha": 0.6, "zorder": 4}
        axes.plot(drawn_cost(inputs, name, rows["avg_cost"], unit), 100 * rows["accuracy"], **thin)
    look: dict[str, Any] = {"color": VERMILLION, "marker": "o", "lw": 1.6, "zorder": 5}
    line = draw_method(axes, inputs, dataset, name, unit, band=0.18, **look)
    line.set_label(f"{line.get_label()} (band: 95% interval; thin: seeds)")
    return [line]


def _draw_bounds(axes: Axes, inputs: Inputs, dataset: str, unit: Unit) -> list[Line2D]:
    """The mixing hull and the reference by text, those of the seeds averaged."""
    few = len(inputs.actions) <= 3
    mixed = ", ".join(map(label, inputs.actions)) if few else "all actions"
    bounds: dict[str, tuple[str, LineStyle]] = {
        MIXING_HULL: (f"Random mixing of {mixed}", "-"),
        BY_TEXT: (TEXT_REFERENCE, (0, (5, 1.5))),
    }
    found = {name: frontier_of(inputs, dataset, name, unit) for name in bounds}
    return [
        draw_line(axes, curve, title, color=BLACK, lw=1, linestyle=style, zorder=2)
        for (title, style), curve in zip(bounds.values(), found.values(), strict=True)
        if not curve.empty
    ]


def looks_of(inputs: Inputs) -> dict[str, dict[str, Any]]:
    """Experiments beside VoVNet -> how they are drawn: thresholds, known policies, all others."""
    names, stanzas = replayed(inputs), inputs.settings.experiments
    thresholds = [name for name, policy in names.items() if policy == "uncertainty_threshold"]
    known = [name for policy in SINGLE for name in names if names[name] == policy]
    others = [
        name
        for name, policy in names.items()
        if policy and name not in {*thresholds, *known} and stanzas[name].role != "fixed"
    ]
    cycled = [*thresholds, *filter(partial(chooses, inputs), others)]
    looks = {name: SINGLE[names[name]] for name in known}
    for name in known:
        match = stanzas[name].match
        if match is not None and match.buckets is not None:
            looks[name] = looks[name] | {"marker": "+"}
    for name, look in zip(cycled, cycle(LOOKS), strict=False):
        looks[name] = {"lw": 0.9, "ms": 3, "zorder": 3} | look
    return {name: looks[name] for name in dict.fromkeys([*thresholds, *known, *cycled])}


def _draw_fixed(axes: Axes, inputs: Inputs, dataset: str, unit: Unit) -> None:
    """The policies that always take one action, labelled below the hull, where no good one lies."""
    run, _ = inputs.main_run()
    rows = inputs.plain(of(inputs.points, dataset=dataset, role="fixed", mode="replay", run=run))
    for action in inputs.actions:
        names = rows.loc[rows[f"action_rate_{action}"] == 1, "experiment"]
        if names.empty:
            continue
        curve = curve_of(inputs, dataset, names.iloc[0], unit)
        look: dict[str, Any] = {"marker": "s", "ms": 4.5, "color": BLACK, "linestyle": "none"}
        draw_line(axes, curve, label(action), **look, zorder=6)
        offset, across, along = PLACES.get(action, OTHER_PLACE)
        text = axes.annotate(
            label(action),
            (curve["cost"].iloc[0], 100 * curve["accuracy"].iloc[0]),
            xytext=offset,
            textcoords="offset points",
            ha=across,
            va=along,
            zorder=8,
        )
        text.set_path_effects([patheffects.withStroke(linewidth=2, foreground="white")])

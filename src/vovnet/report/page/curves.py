"""The main figure for a browser: accuracy over cost of every method, with intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

import pandas as pd

from vovnet.evaluation.columns import BY_TEXT, MIXING_HULL, MS, TEXT_REFERENCE, Unit
from vovnet.report.figures import AXES, ENDS, frontier_of
from vovnet.report.figures.accuracy_cost import LOOKS, looks_of
from vovnet.report.inputs import Inputs, of, over_seeds
from vovnet.report.render import label, point_label
from vovnet.report.style import BLACK, GREY, VERMILLION

Facts = dict[str, Any]

UNITS = AXES | {MS: ("Milliseconds per question", "latency_ms", 1.0)}

SYMBOLS = {
    **{"o": "circle", "s": "square", "D": "diamond", "d": "diamond-tall", "*": "star"},
    **{"^": "triangle-up", "v": "triangle-down", "<": "triangle-left", ">": "triangle-right"},
    **{"P": "cross", "X": "x", "x": "x-thin-open", "+": "cross-thin-open", "1": "y-down-open"},
    **{"p": "pentagon", "h": "hexagon", "H": "hexagon2", "8": "octagon"},
}
"""Marker of matplotlib -> that of Plotly."""

DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
SINGLE = {"color": BLACK, "marker": "s", "ms": 4.5, "linestyle": "none"}
MAIN = {"color": VERMILLION, "marker": "o", "ms": 4, "lw": 1.6, "linestyle": "-"}
PX_PER_PT = 2.0

DIGITS = 6
"""Significant digits of what is drawn."""


def main_figure(inputs: Inputs) -> Facts:
    """What is drawn of each method, by dataset and unit of cost."""
    methods, labels = list(_methods(inputs)), _labels(inputs)
    panels: dict[str, dict[str, Facts]] = {}
    for dataset in inputs.datasets():
        own = _of_dataset(inputs, dataset)
        panels[dataset] = {unit: _panel(own, dataset, methods, labels, unit) for unit in UNITS}
    axes = [{"id": unit, "label": name} for unit, (name, _, _) in UNITS.items()]
    return {"methods": methods, "panels": panels, "units": axes, "datasets": inputs.datasets()}


def _of_dataset(inputs: Inputs, dataset: str) -> Inputs:
    """The points and curves of a dataset alone, among which those of a method are found sooner."""
    others = {
        unit: compared._replace(curves=of(compared.curves, dataset=dataset))
        for unit, compared in inputs.others.items()
    }
    points, curves = (of(table, dataset=dataset) for table in (inputs.points, inputs.curves))
    return replace(inputs, points=points, curves=curves, others=others)


def _labels(inputs: Inputs) -> dict[str, dict[int, str]]:
    """What the points of each experiment are called."""
    points = inputs.points.groupby("experiment")["point"].unique()
    return {
        str(name): {point: point_label(inputs.settings, str(name), point) for point in numbers}
        for name, numbers in points.items()
    }


def _panel(
    inputs: Inputs,
    dataset: str,
    methods: Sequence[Facts],
    labels: Mapping[str, Mapping[int, str]],
    unit: Unit,
) -> Facts:
    """The parts of a panel by method; a method that was not measured has none."""
    names = [item["id"] for item in methods]
    parts = {name: _part(inputs, dataset, name, labels.get(name, {}), unit) for name in names}
    return {name: part for name, part in parts.items() if part}


def _methods(inputs: Inputs) -> Iterator[Facts]:
    """Every method, those of the paper's figure first: what it is called, and how it is drawn."""
    bounds = {MIXING_HULL: ("Random mixing of the actions", "-"), BY_TEXT: (TEXT_REFERENCE, "--")}
    drawn = dict.fromkeys(filter(None, map(inputs.main, inputs.datasets())), MAIN)
    fixed, (run, _) = of(inputs.points, role="fixed", mode="replay"), inputs.main_run()
    drawn |= dict.fromkeys(of(fixed, run=run)["experiment"], SINGLE)
    drawn |= looks_of(inputs)
    for name, look in drawn.items():
        yield _method(inputs, name, look, main=look is MAIN)
    for name, (title, style) in bounds.items():
        line = _line({"color": BLACK, "lw": 1, "linestyle": style})
        yield {"id": name, "title": title, "line": line, "marker": None, "shown": True}
    own = {inputs.settings.experiments[name].title: look for name, look in drawn.items()}
    others = [name for name in inputs.settings.experiments if name not in drawn]
    for name, cycled in zip(others, cycle(LOOKS), strict=False):
        item = inputs.settings.experiments[name]
        is_live = item.mode == "live"
        if not item.compare_cache_reuse:
            look = own.get(item.title, cycled | {"lw": 0.8}) if is_live else cycled | {"lw": 0.8}
            yield _method(inputs, name, look, shown=is_live)


def _method(
    inputs: Inputs, name: str, look: Facts, main: bool = False, shown: bool = True
) -> Facts:
    marker = {
        "symbol": SYMBOLS.get(look.get("marker", "o"), "circle"),
        "size": PX_PER_PT * min(look.get("ms", 3), 5),
        "color": look["color"],
    }
    if look.get("markerfacecolor") == "white":
        marker["symbol"] += "-open"
    title = inputs.settings.experiments[name].title
    facts = {"id": name, "title": title, "line": _line(look), "marker": marker, "shown": shown}
    return facts | ({"main": True} if main else {})


def _line(look: Facts) -> Facts | None:
    style = look.get("linestyle", "-")
    if style == "none":
        return None
    dash = style if isinstance(style, str) else ""
    pattern = ",".join(f"{PX_PER_PT * length:g}px" for length in style[1]) if not dash else ""
    width = PX_PER_PT * look.get("lw", 0.9)
    return {"color": look.get("color", GREY), "dash": DASHES.get(dash, pattern), "width": width}


def _part(inputs: Inputs, dataset: str, name: str, labels: Mapping[int, str], unit: Unit) -> Facts:
    """The frontier and the points of a method; nothing where it was not measured."""
    part, stanza = Facts(), inputs.settings.experiments.get(name)
    if stanza is not None and (stanza.mode == "live") != (unit == MS):
        return part
    if unit != MS:
        frontier = frontier_of(inputs, dataset, name, unit)
        if not frontier.empty:
            part["frontier"] = _coordinates(frontier)
    if stanza is not None:
        points = _points(inputs, dataset, name, unit)
        if not points.empty:
            told = {"labels": [labels[point] for point in points["point"]]}
            part["points"] = _coordinates(points) | told
            if action := _always(inputs, dataset, name):
                part["points"]["name"] = action
    return part


def _points(inputs: Inputs, dataset: str, name: str, unit: Unit) -> pd.DataFrame:
    """The points of an experiment over its seeds; of live ones those that were timed, in ms."""
    _, column, scale = UNITS[unit]
    rows = of(inputs.points, experiment=name, dataset=dataset)
    points = over_seeds(rows, ["point"], [], [*ENDS, column])
    return points.assign(cost=scale * points[column]).dropna(subset="cost").sort_values("cost")


def _always(inputs: Inputs, dataset: str, name: str) -> str:
    """The action that an experiment of fixed role always takes, "" of any other."""
    rows = inputs.plain(of(inputs.points, experiment=name, dataset=dataset, role="fixed"))
    taken = [a for a in inputs.actions if len(rows) and (rows[f"action_rate_{a}"] == 1).all()]
    return label(taken[0]) if taken else ""


def _coordinates(rows: pd.DataFrame) -> dict[str, list[float]]:
    """Costs, and accuracies with the ends of their intervals in percent."""
    ends = zip(("y", "low", "high"), ENDS, strict=True)
    values = {"x": rows["cost"]} | {key: 100 * rows[name] for key, name in ends}
    return {key: [float(f"{value:.{DIGITS}g}") for value in item] for key, item in values.items()}

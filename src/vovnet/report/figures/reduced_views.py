"""The figure of reduced views: fewer vision tokens for every image, against choosing when to look.

A panel per dataset, accuracy over average vision tokens, and one over FLOPs. Lines are means
over seeds, the frontier of a policy that has one. Bands are 95% intervals, averaged over seeds, of
VoVNet and of resolution scaling.
"""

from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vovnet.config import policy_points
from vovnet.evaluation.columns import RESOLUTION, Unit
from vovnet.report.figures import chooses, curve_panels, draw_method, replayed
from vovnet.report.inputs import Inputs, of
from vovnet.report.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION

ORDER = 50
PROXIES = (
    RESOLUTION,
    "multi_granularity_proxy",
    "token_merge_prune_proxy",
    "vision_token_pruning_proxy",
)
"""Policies that always show one reduced view, in the order of the legend; others follow."""

LOOKS: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "s", "linestyle": "-"},
    {"color": GREEN, "marker": "v", "linestyle": "-."},
    {"color": PURPLE, "marker": "P", "linestyle": (0, (4, 1, 1, 1))},
    {"color": ORANGE, "marker": "D", "linestyle": ":"},
    {"color": SKY, "marker": "^", "linestyle": "--"},
    {"color": BLACK, "marker": "x", "linestyle": "--"},
    {"color": GREEN, "marker": "d", "linestyle": (0, (1, 2))},
    {"color": PURPLE, "marker": "<", "linestyle": (0, (5, 2))},
    {"color": ORANGE, "marker": ">", "linestyle": (0, (3, 1, 1, 1, 1, 1))},
    {"color": SKY, "marker": "X", "linestyle": (0, (6, 1))},
)


def figure(inputs: Inputs) -> Figure | None:
    """Every sweep over reduced views of VoVNet's run, and VoVNet with and without a reduction."""
    return curve_panels(inputs, _draw) if _proxies(inputs) else None


def _draw(axes: Axes, inputs: Inputs, dataset: str, unit: Unit) -> list[Line2D]:
    lines = []
    banded = [inputs.main(dataset), *inputs.experiments(RESOLUTION)]
    for name, look in _sweeps(inputs, dataset):
        band = 0.15 if name in banded else 0
        lines.append(draw_method(axes, inputs, dataset, name, unit, band, **look))
    return lines


def _proxies(inputs: Inputs) -> list[str]:
    """Experiments that always show a view which is no action: the known policies, then others."""
    ranks = {policy: rank for rank, policy in enumerate(PROXIES)}
    found = {name: item for name, item in replayed(inputs).items() if not chooses(inputs, name)}
    return sorted(filter(found.get, found), key=lambda name: ranks.get(found[name], len(ranks)))


def _sweeps(inputs: Inputs, dataset: str) -> list[tuple[str, dict[str, Any]]]:
    """Experiments and how they look: VoVNet first, then its reductions, then the proxies."""
    main = inputs.main(dataset)
    there = set(of(inputs.points, dataset=dataset)["experiment"])
    names = [name for name in replayed(inputs) if name in there]
    points = {name: policy_points(inputs.settings, name) for name in names}
    inside = [name for name in names if any(point.baseline_reduction for point in points[name])]
    proxies = [name for name in _proxies(inputs) if name in names]
    drawn: list[tuple[str, dict[str, Any]]] = []
    if main is not None:
        drawn.append((main, {"color": VERMILLION, "marker": "o", "lw": 1.6, "zorder": 5}))
    for name, style in zip(inside, cycle(("--", ":")), strict=False):
        look = {"color": VERMILLION, "marker": "o", "ms": 2.5, "linestyle": style, "zorder": 4}
        drawn.append((name, look))
    for name, look in zip(proxies, cycle(LOOKS), strict=False):
        drawn.append((name, {"lw": 0.9, "ms": 3, "zorder": 3} | look))
    return drawn

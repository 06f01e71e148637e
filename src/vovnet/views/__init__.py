"""Names of views: how an image is shown, in one canonical spelling.

A view is a budget and the reductions inside it, joined by `+`:

    no, coarse, full                     the views of the three actions
    side-336, pixels-200704              another budget: longest side, area, in pixels
    prune-stride-0.50                    reductions of the FULL view: prune-<mode>-<ratio>,
    merge-cosine-norm-0.25               merge-<mode>-<weight>-<ratio>,
    pool-2                               pool-<factor>
    merge-l2-uniform-0.50+prune-topk_norm-0.50    one after the other
    coarse+prune-stride-0.50             a reduction inside another view

Everything else that handles a view handles its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from vovnet.core.cost import Merge, Pool, Prune, Reduction, ViewBudget
from vovnet.core.errors import ConfigError

ACTION_VIEWS = ("no", "coarse", "full")

_RATIO = r"(?P<ratio>[01]\.\d{2,6})"
_BUDGET = re.compile(r"(?P<kind>side|pixels)-(?P<limit>[1-9]\d{0,11})")
_PRUNE = re.compile(rf"prune-(?P<mode>stride|topk_norm)-{_RATIO}")
_MERGE = re.compile(rf"merge-(?P<mode>cosine|l2)-(?P<weight>norm|uniform)-{_RATIO}")
_POOL = re.compile(r"pool-(?P<factor>[1-9]\d{0,2})")


@dataclass(frozen=True)
class View:
    """`budget` is the name of an action's view, whose limits are configured, or its own limits."""

    budget: str | ViewBudget
    reductions: tuple[Reduction, ...] = ()

    @property
    def name(self) -> str:
        parts = [_reduction_name(reduction) for reduction in self.reductions]
        if not parts or self.budget != "full":
            parts.insert(0, _budget_name(self.budget))
        return "+".join(parts)


@cache
def parse_view(name: str) -> View:
    """The view of a name; anything but the canonical spelling is an error."""
    first, *rest = name.split("+")
    budget = _budget(first)
    parts = rest if budget is not None else [first, *rest]
    reductions = [_reduction(part) for part in parts]
    view = View("full" if budget is None else budget, tuple(filter(None, reductions)))
    late_pool = any(isinstance(reduction, Pool) for reduction in view.reductions[1:])
    blind = view.budget == "no" and reductions
    if None in reductions or late_pool or blind or view.name != name:
        raise ConfigError(
            f"view {name!r} is unknown, expected no, coarse, full, a budget such as side-336, or"
            " reductions such as prune-stride-0.50, merge-cosine-norm-0.25, pool-2 or"
            " coarse+prune-stride-0.50"
        )
    return view


def _budget(text: str) -> str | ViewBudget | None:
    if text in ACTION_VIEWS:
        return text
    found = _BUDGET.fullmatch(text)
    if found is None:
        return None
    limit = int(found["limit"])
    return ViewBudget(limit, None) if found["kind"] == "side" else ViewBudget(None, limit)


def _reduction(text: str) -> Reduction | None:
    if found := _PRUNE.fullmatch(text):
        ratio = float(found["ratio"])
        return Prune(found["mode"], ratio) if 0 < ratio <= 1 else None  # type: ignore[arg-type]
    if found := _MERGE.fullmatch(text):
        mode, weight, ratio = found["mode"], found["weight"], float(found["ratio"])
        return Merge(mode, weight, ratio) if 0 < ratio <= 1 else None  # type: ignore[arg-type]
    if found := _POOL.fullmatch(text):
        return Pool(int(found["factor"]))
    return None


def _budget_name(budget: str | ViewBudget) -> str:
    if isinstance(budget, str):
        return budget
    assert (budget.long_side is None) != (budget.max_pixels is None), budget
    if budget.long_side is not None:
        return f"side-{budget.long_side}"
    return f"pixels-{budget.max_pixels}"


def _reduction_name(reduction: Reduction) -> str:
    match reduction:
        case Prune(mode, ratio):
            return f"prune-{mode}-{_ratio_name(ratio)}"
        case Merge(mode, weight, ratio):
            return f"merge-{mode}-{weight}-{_ratio_name(ratio)}"
        case Pool(factor):
            return f"pool-{factor}"


def _ratio_name(ratio: float) -> str:
    """At least two decimals and at most six, as many as the ratio has."""
    text = f"{ratio:.6f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals:0<2}"

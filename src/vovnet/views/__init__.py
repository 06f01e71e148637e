"""Views: how images are shown, named by one canonical spelling each.

A view is a budget, and the reductions that are applied inside it one after the other:

    no                                   no image is shown
    coarse, full                         budgets whose sizes are configured (`vision_budget`)
    side-336, pixels-200704              other budgets: longest side and area, in pixels
    full+prune-stride-0.5                a reduction; `vovnet.views.reductions` lists them all
    coarse+merge-cosine-0.5+prune-topk_norm-0.5

The canonical spelling begins with the budget, leaves out default options, and writes numbers as
short as possible. `parse_view` also reads other spellings: `64` for `side-64`, a missing `full`
before a reduction, options that are the default, and numbers such as `0.50`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from vovnet.core.cost import ViewBudget, resized_size
from vovnet.core.errors import ConfigError
from vovnet.views.reductions import REDUCTIONS, reduction_class
from vovnet.views.reductions.base import Dropping, Reduction

if TYPE_CHECKING:
    from vovnet.config import VisionBudget

DEFAULT_ACTIONS = ("no", "coarse", "full")
"""The actions of the experiments' specification."""

_NAMED = frozenset(DEFAULT_ACTIONS)
_OWN_LIMIT = re.compile(r"(?:(?P<kind>side|pixels)-)?(?P<limit>[1-9]\d{0,11})")


@dataclass(frozen=True)
class View:
    """`budget` is the name of a configured budget (or `no`), or a budget with its own limit."""

    budget: str | ViewBudget
    reductions: tuple[Reduction, ...] = ()

    @property
    def name(self) -> str:
        budget = self.budget
        if isinstance(budget, ViewBudget):
            side, pixels = budget.long_side, budget.max_pixels
            assert (side is None) != (pixels is None), budget
            budget = f"pixels-{pixels}" if side is None else f"side-{side}"
        return "+".join([budget, *(item.name for item in self.reductions)])

    @property
    def needs_attention(self) -> bool:
        """Whether its reductions read the attention of the vision tower."""
        return any(item.needs_attention for item in self.reductions)

    @property
    def dropping(self) -> Dropping | None:
        """What is dropped inside the language model."""
        last = self.reductions[-1] if self.reductions else None
        return last if isinstance(last, Dropping) else None

    @property
    def columns(self) -> dict[str, float]:
        """What results.csv says of a policy that shows this view."""
        columns: dict[str, float] = {}
        if isinstance(self.budget, ViewBudget):
            limits = vars(self.budget).items()
            columns |= {name: limit for name, limit in limits if limit is not None}
        return columns | {item.column: item.amount for item in self.reductions}


@cache
def parse_view(text: str) -> View:
    """The view that a text names, in the canonical or in another spelling."""
    first, *rest = text.split("+")
    budget = _budget(first)
    if budget is None:
        budget, rest = "full", [first, *rest]
    parts = [part.split("-") for part in rest]
    reductions = [
        reduction_class(name).parse(options) if name in REDUCTIONS else None
        for name, *options in parts
    ]
    known = tuple(item for item in reductions if item is not None)
    misplaced = any(item.needs_grid for item in known[1:])
    misplaced |= any(isinstance(item, Dropping) for item in known[:-1])
    if None in reductions or misplaced or (budget == "no" and rest):
        shown = ", ".join(reduction_class(name).example for name in REDUCTIONS)
        raise ConfigError(
            f"view {text!r} is unknown, expected no, coarse, full, side-<pixels> or"
            f" pixels-<pixels>, and reductions joined to it by '+', such as {shown}"
        )
    return View(budget, known)


def view_budget(view: str, settings: VisionBudget) -> ViewBudget | None:
    """The sizes within which a view shows images; None for `no`."""
    budget = parse_view(view).budget
    if isinstance(budget, ViewBudget):
        return budget
    if budget == "no":
        return None
    if budget == "coarse":
        return ViewBudget(settings.coarse_long_side, settings.coarse_max_pixels)
    return ViewBudget(settings.full_long_side, settings.full_max_pixels)


def num_vision_tokens(sizes: Sequence[tuple[int, int]], view: str, settings: VisionBudget) -> int:
    """Vision tokens that a view of images of `sizes` (width, height) costs.

    Each image is reduced by itself.
    """
    budget = view_budget(view, settings)
    if budget is None:
        return 0
    reductions = parse_view(view).reductions
    shown = [resized_size(width, height, budget, settings.factor) for width, height in sizes]
    grids = [(height // settings.factor, width // settings.factor) for width, height in shown]
    return sum(tokens_left(grid, reductions) for grid in grids)


def tokens_left(grid: tuple[int, int], reductions: Sequence[Reduction] = ()) -> int:
    """Tokens that `reductions`, one after the other, leave of a grid of (rows, columns)."""
    count = grid[0] * grid[1]
    for reduction in reductions:
        count = reduction.tokens_left(count, grid)
    return count


def _budget(text: str) -> str | ViewBudget | None:
    if text in _NAMED:
        return text
    found = _OWN_LIMIT.fullmatch(text)
    if found is None:
        return None
    limit = int(found["limit"])
    return ViewBudget(None, limit) if found["kind"] == "pixels" else ViewBudget(limit, None)

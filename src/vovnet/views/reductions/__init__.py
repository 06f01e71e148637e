"""Reductions: ways to show an encoded image with fewer tokens, one module each.

A reduction is a class of its module, named as the module and capitalised, that follows
`vovnet.views.reductions.base.Reduction`. To add one, write its module and its entry here:
the spelling of views, what they cost, and the columns of results.csv follow.
"""

from vovnet.core.registry import load_entry
from vovnet.views.reductions.base import Reduction

REDUCTIONS = {
    "prune": "vovnet.views.reductions.prune",
    "merge": "vovnet.views.reductions.merge",
    "pool": "vovnet.views.reductions.pool",
    "visionzip": "vovnet.views.reductions.visionzip",
    "fastv": "vovnet.views.reductions.fastv",
}
"""By the first word of their spelling."""


def reduction_class(name: str) -> type[Reduction]:
    """The class of a reduction by its entry in `REDUCTIONS`."""
    found: type[Reduction] = load_entry(__name__, REDUCTIONS[name], name.capitalize())
    return found

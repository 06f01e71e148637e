"""Names of views: one spelling each."""

from __future__ import annotations

import pytest

from support.properties import given, st
from vovnet.config import VisionBudget
from vovnet.core.cost import Merge, Pool, Prune, ViewBudget
from vovnet.core.errors import ConfigError
from vovnet.views import View, parse_view

NAMES = {
    "no": View("no"),
    "coarse": View("coarse"),
    "full": View("full"),
    "side-336": View(ViewBudget(336, None)),
    "pixels-200704": View(ViewBudget(None, 200704)),
    "prune-stride-0.50": View("full", (Prune("stride", 0.5),)),
    "prune-topk_norm-1.00": View("full", (Prune("topk_norm", 1.0),)),
    "merge-cosine-norm-0.25": View("full", (Merge("cosine", "norm", 0.25),)),
    "merge-l2-uniform-0.125": View("full", (Merge("l2", "uniform", 0.125),)),
    "pool-2": View("full", (Pool(2),)),
    "coarse+prune-stride-0.50": View("coarse", (Prune("stride", 0.5),)),
    "side-96+pool-2": View(ViewBudget(96, None), (Pool(2),)),
    "merge-cosine-norm-0.50+prune-stride-0.75": View(
        "full", (Merge("cosine", "norm", 0.5), Prune("stride", 0.75))
    ),
}
RATIOS = st.integers(1, 10**6).map(lambda millionths: millionths / 10**6)
REDUCTIONS = st.one_of(
    st.builds(Prune, st.sampled_from(["stride", "topk_norm"]), RATIOS),
    st.builds(
        Merge, st.sampled_from(["cosine", "l2"]), st.sampled_from(["norm", "uniform"]), RATIOS
    ),
)
BUDGETS = st.one_of(
    st.sampled_from(["coarse", "full"]),
    st.integers(1, 4000).map(lambda side: ViewBudget(side, None)),
)


@pytest.mark.parametrize("name", NAMES)
def test_names_by_hand(name: str) -> None:
    assert parse_view(name) == NAMES[name]
    assert NAMES[name].name == name


@given(budget=BUDGETS, reductions=st.lists(REDUCTIONS, max_size=2).map(tuple))
def test_a_name_says_everything(budget: str | ViewBudget, reductions: tuple) -> None:
    view = View(budget, reductions)
    assert parse_view(view.name) == view


@pytest.mark.parametrize(
    "name",
    [
        *("", "FULL", "half", "full+prune-stride-0.50", "prune-stride-0.5", "prune-stride-0.500"),
        *("prune-stride-0.00", "prune-stride-1.50", "prune-random-0.50", "merge-cosine-0.25"),
        *("pool-0", "pool-02", "side-0", "side-336.0", "no+pool-2", "prune-stride-0.50+pool-2"),
        *("coarse+side-64", "pool-2+", "+pool-2", "side-336/../x"),
    ],
)
def test_other_spellings_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is unknown, expected no, coarse, full"):
        parse_view(name)


def test_budgets_of_views() -> None:
    budgets = VisionBudget()
    assert budgets.budget("no") is None
    assert budgets.budget("coarse+prune-stride-0.50") == budgets.budget("coarse")
    assert budgets.budget("pool-2") == budgets.budget("full") == ViewBudget(128, None)
    assert budgets.budget("pixels-4096") == ViewBudget(None, 4096)

"""Names of views: one spelling each."""

from __future__ import annotations

import pytest

from support.properties import given, st
from vovnet.config import VisionBudget, validate
from vovnet.core.cost import ViewBudget
from vovnet.core.errors import ConfigError
from vovnet.views import View, parse_view, view_budget
from vovnet.views.reductions import REDUCTIONS, reduction_class
from vovnet.views.reductions.base import Dropping
from vovnet.views.reductions.merge import Merge
from vovnet.views.reductions.pool import Pool
from vovnet.views.reductions.prune import Prune

NAMES = {
    "no": View("no"),
    "coarse": View("coarse"),
    "full": View("full"),
    "side-336": View(ViewBudget(336, None)),
    "pixels-200704": View(ViewBudget(None, 200704)),
    "full+prune-stride-0.5": View("full", (Prune("stride", 0.5),)),
    "full+prune-topk_norm-1": View("full", (Prune("topk_norm", 1.0),)),
    "full+merge-cosine-0.25": View("full", (Merge("cosine", 0.25, "norm"),)),
    "full+merge-l2-uniform-0.125": View("full", (Merge("l2", 0.125, "uniform"),)),
    "full+pool-2": View("full", (Pool(2),)),
    "coarse+prune-stride-0.5": View("coarse", (Prune("stride", 0.5),)),
    "side-96+pool-2": View(ViewBudget(96, None), (Pool(2),)),
    "full+merge-cosine-0.5+prune-stride-0.75": View(
        "full", (Merge("cosine", 0.5, "norm"), Prune("stride", 0.75))
    ),
}
RATIOS = st.integers(1, 10**6).map(lambda millionths: millionths / 10**6)
ANY_REDUCTION = st.one_of(
    st.builds(Prune, st.sampled_from(["stride", "topk_norm"]), RATIOS),
    st.builds(
        Merge, st.sampled_from(["cosine", "l2"]), RATIOS, st.sampled_from(["norm", "uniform"])
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


@given(budget=BUDGETS, reductions=st.lists(ANY_REDUCTION, max_size=2).map(tuple))
def test_a_name_says_everything(budget: str | ViewBudget, reductions: tuple) -> None:
    view = View(budget, reductions)
    assert parse_view(view.name) == view


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        *(("64", "side-64"), ("64+pool-2", "side-64+pool-2"), ("pool-2", "full+pool-2")),
        ("prune-stride-0.50", "full+prune-stride-0.5"),
        ("full+prune-stride-1.00", "full+prune-stride-1"),
        ("merge-cosine-norm-0.500", "full+merge-cosine-0.5"),
        ("coarse+merge-l2-norm-0.25", "coarse+merge-l2-0.25"),
        *(("fastv-layer2-0.50", "full+fastv-0.5"), ("fastv-layer3-1", "full+fastv-layer3-1")),
    ],
)
def test_other_spellings_have_one_canonical_name(spelling: str, name: str) -> None:
    assert parse_view(spelling).name == name


@pytest.mark.parametrize(
    "text",
    [
        *("", "FULL", "half", "064", "full+", "full+full", "full+prune-stride-0.1234567"),
        *("prune-stride-0.00", "prune-stride-1.50", "prune-chance-0.50", "merge-cosine"),
        *("fastv-0.5+prune-stride-0.5", "fastv-0.5+fastv-0.5", "fastv-2-0.5", "no+fastv-0.5"),
        *("pool-0", "pool-02", "side-0", "side-336.0", "no+pool-2", "prune-stride-0.50+pool-2"),
        *("coarse+side-64", "pool-2+", "+pool-2", "side-336/../x", "prune", "64+96"),
    ],
)
def test_what_names_no_view_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is unknown, expected no, coarse, full"):
        parse_view(text)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_an_entry_of_the_registry_is_enough(name: str) -> None:
    """Grammar, tokens left and columns follow from the class of each reduction."""
    view = parse_view(f"full+{reduction_class(name).example}")
    (reduction,) = view.reductions
    assert view.name == f"full+{reduction.example}"
    assert view.columns == {reduction.column: reduction.amount}
    left = reduction.tokens_left(16, (4, 4))
    if isinstance(reduction, Dropping):
        assert view.dropping is reduction and left == 16
        left = reduction.kept(16)
    assert 0 < left < 16


def test_budgets_of_views() -> None:
    budgets = VisionBudget()
    assert view_budget("no", budgets) is None
    assert view_budget("coarse+prune-stride-0.5", budgets) == ViewBudget(64, None)
    assert view_budget("pool-2", budgets) == view_budget("full", budgets) == ViewBudget(128, None)
    assert view_budget("pixels-4096", budgets) == ViewBudget(None, 4096)


def test_actions_are_views_in_any_spelling() -> None:
    """YAML reads a bare `no` as false and `64` as a number."""
    listed = [False, 64, "96", "full", "merge-cosine-0.50"]
    actions = validate({"actions": listed}, "test").actions
    assert actions == ["no", "side-64", "side-96", "full", "full+merge-cosine-0.5"]
    assert validate({}, "test").actions == ["no", "coarse", "full"]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (["no", "full", 96, "side-96"], "actions: expected each action once"),
        (["full", "no"], "actions: expected 'no' first, and 'full' among the others"),
        (["no", "coarse"], "'full' among the others"),
        (["no", "full", "half"], r"actions.2: view 'half' is unknown"),
        (["no", "full", True], r"actions.2: view 'True' is unknown"),
    ],
)
def test_wrong_actions_are_one_line(actions: list, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate({"actions": actions}, "test")


@pytest.mark.parametrize(
    "value",
    [
        {
            "training": {
                "stage1_baseline_name": "random_policy_matched",
                "stage1_target_ratios": [0.5, 0.5],
            }
        },
        {
            "actions": ["no", "full"],
            "pretraining": {"a": {"num_samples": 1, "templates": {"b": 1}}},
        },
    ],
)
def test_there_is_a_share_for_each_action(value: dict) -> None:
    with pytest.raises(ConfigError, match="expected a share for each of"):
        validate(value, "test")

"""The cost of a view and the decision rule."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from support.properties import given, st
from vovnet.config import VisionBudget
from vovnet.core.cost import (
    ViewBudget,
    choose_actions,
    expected_cost,
    resized_size,
)
from vovnet.views import num_vision_tokens

SIDES = st.integers(1, 5000)
BUDGETS = st.builds(
    ViewBudget,
    st.one_of(st.none(), st.integers(32, 2048)),
    st.one_of(st.none(), st.integers(32 * 32, 2048 * 2048)),
)
TABLES = st.lists(
    st.tuples(
        st.lists(st.integers(-40, 40), min_size=3, max_size=3),
        st.lists(st.integers(0, 50), min_size=3, max_size=3).map(sorted),
    ),
    min_size=1,
    max_size=20,
)
"""Scores in quarters and ascending costs of some samples: exact in binary, with many ties."""


def arrays(table: list[tuple[list[int], list[int]]]) -> tuple[np.ndarray, np.ndarray]:
    scores, costs = zip(*table, strict=True)
    return np.array(scores) / 4, np.array(costs, dtype=float)


@pytest.mark.parametrize(
    ("size", "budget", "shown"),
    [
        ((128, 128), ViewBudget(128, None), (128, 128)),
        ((128, 128), ViewBudget(64, None), (64, 64)),
        ((64, 64), ViewBudget(128, None), (64, 64)),  # never enlarged
        ((256, 128), ViewBudget(128, None), (128, 64)),
        ((100, 60), ViewBudget(None, None), (96, 64)),  # rounded to the nearest multiple
        ((1000, 10), ViewBudget(64, None), (64, 32)),  # at least one token a side
        ((640, 480), ViewBudget(224, None), (224, 160)),
        ((1024, 1024), ViewBudget(None, 64 * 64), (64, 64)),
        ((5, 5), ViewBudget(16, None), (32, 32)),
    ],
)
def test_sizes_by_hand(size: tuple[int, int], budget: ViewBudget, shown: tuple[int, int]) -> None:
    assert resized_size(*size, budget, 32) == shown


@given(SIDES, SIDES, BUDGETS)
def test_a_shown_image_keeps_to_its_budget(width: int, height: int, budget: ViewBudget) -> None:
    shown = resized_size(width, height, budget, 32)
    assert all(side >= 32 and side % 32 == 0 for side in shown)
    if budget.long_side is not None:
        assert max(shown) <= max(32, budget.long_side)
    if budget.max_pixels is not None and max(width, height) < 30 * min(width, height):
        assert shown[0] * shown[1] <= max(32 * 32, budget.max_pixels)
    assert shown[0] <= width + 31 and shown[1] <= height + 31


@given(SIDES, SIDES, st.integers(32, 1000), st.integers(32, 1000))
def test_a_larger_budget_never_costs_less(width: int, height: int, a: int, b: int) -> None:
    small, large = sorted((a, b))
    sizes = [(width, height)]
    tokens = [num_vision_tokens(sizes, f"side-{side}", VisionBudget()) for side in (small, large)]
    assert tokens[0] <= tokens[1]


def test_tokens_are_counted_over_images() -> None:
    sizes = [(128, 128), (64, 128)]
    assert num_vision_tokens(sizes, "full", VisionBudget()) == 16 + 8
    assert num_vision_tokens(sizes, "coarse", VisionBudget()) == 4 + 2
    assert num_vision_tokens(sizes, "full+prune-stride-0.5", VisionBudget()) == 8 + 4
    assert num_vision_tokens(sizes, "no", VisionBudget()) == 0
    assert num_vision_tokens([], "full", VisionBudget()) == 0
    assert expected_cost([0, 4, 16], 0.25).tolist() == [0, 1, 4]


def test_decisions_by_hand() -> None:
    scores = [[-1.0, -0.6, -0.1], [-1.0, -0.9, -0.9], [-0.2, -0.2, -0.2]]
    costs = [[0, 4, 16]] * 3
    assert choose_actions(scores, costs, 0.0).tolist() == [2, 1, 0]
    assert choose_actions(scores, costs, 0.05).tolist() == [1, 0, 0]
    assert choose_actions(scores, costs, 0.1).tolist() == [0, 0, 0]  # 1: -1.0 against -1.0
    assert choose_actions(scores, costs, float("inf")).tolist() == [0, 0, 0]


@given(TABLES, st.integers(0, 16))
def test_ties_go_to_the_cheaper(table: list[tuple[list[int], list[int]]], eighths: int) -> None:
    scores_NA, costs_NA = arrays(table)
    values_NA = scores_NA - eighths / 8 * costs_NA
    for row, action in enumerate(choose_actions(scores_NA, costs_NA, eighths / 8)):
        best = [a for a in range(3) if values_NA[row, a] == values_NA[row].max()]
        assert action in best
        assert costs_NA[row, action] == min(costs_NA[row, a] for a in best)


@given(TABLES, st.lists(st.integers(0, 64), min_size=2, max_size=6).map(sorted))
def test_cost_falls_with_lambda(
    table: list[tuple[list[int], list[int]]], eighths: list[int]
) -> None:
    scores_NA, costs_NA = arrays(table)
    rows = np.arange(len(table))
    spent = [
        costs_NA[rows, choose_actions(scores_NA, costs_NA, value / 8)] for value in eighths
    ] + [costs_NA[rows, choose_actions(scores_NA, costs_NA, float("inf"))]]
    for before, after in pairwise(spent):
        assert (after <= before).all()


@given(TABLES, st.integers(0, 16), st.integers(-100, 100))
def test_scores_count_up_to_a_constant(
    table: list[tuple[list[int], list[int]]], eighths: int, shift: int
) -> None:
    scores_NA, costs_NA = arrays(table)
    chosen = choose_actions(scores_NA, costs_NA, eighths / 8)
    assert (choose_actions(scores_NA + shift, costs_NA, eighths / 8) == chosen).all()

"""Policies that look again: a cascade asks after each view whether it is sure enough."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from support.policies import (
    COARSE,
    FULL,
    decided,
    names,
    question,
    signals,
)
from vovnet.config import PolicySettings
from vovnet.core.errors import ConfigError, DataError
from vovnet.policies import kind_of
from vovnet.policies.base import Confidence
from vovnet.policies.decide import Decision, decide, further_views, setting_columns
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

CONFIDENCE = {
    "no": Confidence(*np.array([[0.9, 0.9, 0.1], [0.1, 0.1, 0.9], [-2, -2, -1]], dtype=float)),
    "coarse": Confidence(*np.array([[0.2, 0.8, 0.8], [0.9, 0.3, 0.3], [-1, -9, -9]], dtype=float)),
    "full": Confidence(*np.array([[0.7, 0.7, 0.7], [0.1, 0.1, 0.1], [-9, -9, -9]], dtype=float)),
}
"""How sure a model is of three questions under each view."""


class Looks:
    """Executes views on three questions, and remembers which."""

    def __init__(self) -> None:
        self.executed: list[tuple[int, str]] = []

    def __call__(self, rows: np.ndarray, views: np.ndarray) -> Confidence:
        pairs = list(zip(rows.tolist(), views.tolist(), strict=True))
        self.executed += pairs
        parts = [CONFIDENCE[view].take(np.array([row])) for row, view in pairs]
        names = ("entropy", "margin", "log_probability")
        return Confidence(*(np.array([getattr(part, name)[0] for part in parts]) for name in names))


def cascade(**options: Any) -> tuple[Decision, list[tuple[int, str]]]:
    """What a cascade decides on the three questions, and what it executed."""
    policy = PolicySettings(baseline_name="cascade", options=options)
    rows = [question(value, 1 - value) for value in (0.9, 0.9, 0.1)]
    table, looks = signals(rows), Looks()
    return decide(policy, ACTIONS, table, looks, questions=names(table)), looks.executed


def test_a_cascade_goes_on_where_it_is_unsure() -> None:
    decision, executed = cascade(threshold=0.5)
    assert decision.executed.tolist() == ["coarse", "coarse>full", "coarse>full"]
    assert decision.actions.tolist() == [COARSE, FULL, FULL]
    assert decision.views.tolist() == ["coarse", "full", "full"]
    assert executed == [(0, "coarse"), (1, "coarse"), (2, "coarse"), (1, "full"), (2, "full")]
    assert not decision.fallback_triggered.any()
    by_margin, _ = cascade(threshold=0.5, confidence="margin")
    by_answer, _ = cascade(threshold=-5, confidence="log_probability")
    for other in (by_margin, by_answer):
        assert other.executed.tolist() == decision.executed.tolist()
    never, executed = cascade(threshold=math.inf)
    assert never.executed.tolist() == ["coarse"] * 3 and len(executed) == 3


def test_a_no_that_the_text_pass_rules_out_is_not_executed() -> None:
    """Its first token is known; the log-probability of its answer is not."""
    views = ["no", "coarse", "full"]
    decision, executed = cascade(views=views, threshold=[0.5, 0.5])
    assert decision.executed.tolist() == ["coarse", "coarse>full", "no"]
    assert [row for row, view in executed if view == "no"] == [2]
    by_answer, executed = cascade(views=views, threshold=-1.5, confidence="log_probability")
    assert by_answer.executed.tolist() == ["no>coarse", "no>coarse>full", "no"]
    assert [row for row, view in executed if view == "no"] == [0, 1, 2]


def test_each_view_has_its_threshold() -> None:
    decision, _ = cascade(views=["no", "coarse", "full"], threshold=[0.95, 0.5])
    assert decision.executed.tolist() == ["no"] * 3
    assert setting_columns(PolicySettings(baseline_name="cascade", options={"threshold": 0.5})) == {
        "baseline_name": "cascade",
        "threshold": 0.5,
    }


def test_a_cascade_may_show_views_that_are_no_actions() -> None:
    policy = PolicySettings(
        baseline_name="cascade", options={"views": [64, "full+pool-2"], "threshold": 0.5}
    )
    assert further_views(policy, ACTIONS) == ["side-64", "full+pool-2"]
    assert further_views(policy, ["no", "side-64", "full"]) == ["full+pool-2"]
    table = signals([question()] * 2)
    decision = decide(
        policy, ACTIONS, table, lambda rows, views: sure(rows, views == "full+pool-2"),
        questions=names(table),
    )  # fmt: skip
    assert decision.executed.tolist() == ["side-64>full+pool-2"] * 2
    assert decision.actions.tolist() == [-1, -1]


def sure(rows: np.ndarray, where: np.ndarray) -> Confidence:
    entropy_N = np.where(where, 0.0, 9.0)
    return Confidence(entropy_N, entropy_N, np.full(len(rows), np.nan))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"policy\.options\.threshold: Field required"),
        ({"threshold": 1, "treshold": 2}, r"policy\.options\.treshold: unknown key"),
        ({"threshold": [1, 2]}, r"policy\.options: threshold must be a number or 1 of them"),
        ({"threshold": 1, "views": ["full"]}, "at least two different"),
        ({"threshold": 1, "views": ["full", "small"]}, "view 'small' is unknown"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        further_views(PolicySettings(baseline_name="cascade", options=options), ACTIONS)


def test_a_missing_confidence_names_its_sample() -> None:
    with pytest.raises(DataError, match="sample 'q0': the entropy of a view is missing"):
        decided(
            {"baseline_name": "cascade", "options": {"threshold": 1}}, signals([question()]), []
        )


def test_a_cascade_takes_no_fallback() -> None:
    policy = PolicySettings(
        baseline_name="cascade",
        options={"threshold": 1},
        fallback_mode="full",
        fallback_entropy_threshold=1,
    )
    with pytest.raises(ConfigError, match=r"policy\.fallback_mode: 'cascade' decides itself"):
        kind_of(policy)

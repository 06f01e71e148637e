"""Policies that look again: a cascade asks after each view whether it is sure enough."""

from __future__ import annotations

import math
from itertools import pairwise
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
from support.repository import ROOT
from vovnet.config import PolicySettings, load
from vovnet.config.experiments import target_experiments
from vovnet.core.errors import ConfigError, DataError
from vovnet.policies import kind_of
from vovnet.policies.base import Confidence
from vovnet.policies.decide import Decision, decide, further_views, setting_columns
from vovnet.policies.experiments import resolve_experiment
from vovnet.report.render import label
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


@pytest.mark.parametrize("suite", ["config/config.yaml", "config/paper.yaml"])
def test_the_suites_look_twice_in_three_ways(suite: str) -> None:
    """Where a threshold goes on, a higher one does too; at both ends are the first and all views.

    A view is executed before its whole answer is judged, so a NO that is not kept is paid for.
    """
    settings = load([ROOT / suite])
    for name, path in {
        "cascade_no_full": ["no", "full"],
        "cascade_coarse_full": ["coarse", "full"],
        "cascade_no_coarse_full": ["no", "coarse", "full"],
    }.items():
        experiment = resolve_experiment(settings, name)
        assert name in target_experiments(settings, "paper")
        shown = [label(view) for view in path]
        assert experiment.stanza.title == ", then ".join(shown) + " where unsure"
        swept = [policy.options["threshold"] for policy in experiment.points]
        assert swept == sorted(swept) and swept[-1] < 0, "log-probabilities in nats"
        executed = [
            cascade(**experiment.points[0].options | {"threshold": limit})[0].executed.tolist()
            for limit in (-math.inf, *swept, math.inf)
        ]
        assert executed[0] == path[:1] * 3 and executed[-1] == [">".join(path)] * 3
        for before, after in pairwise(executed):
            assert all(b.startswith(a) for a, b in zip(before, after, strict=True))


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

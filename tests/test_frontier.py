"""The whole frontier of a policy is what the policy decides, at every value of its scalar."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.policies import DEPLOYABLE, ROUTER, ROWS, signals
from support.properties import given, st
from support.replays import GRADED, curve_rows, evaluate_all, hull_rows, write_world
from vovnet.config import PolicySettings, validate
from vovnet.core.cost import choose_actions, switching_lambdas
from vovnet.core.records import ImageRef, Sample
from vovnet.core.stats import MOST_POINTS
from vovnet.evaluation.columns import read_results
from vovnet.evaluation.frontier import Frontier, frontier_of
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.evaluation.questions import Questions
from vovnet.evaluation.references import Comparison
from vovnet.evaluation.replay import Observed, execute, router_key
from vovnet.policies import MODULES, kind_of
from vovnet.policies.base import Expected, Scalar
from vovnet.views import DEFAULT_ACTIONS as ACTIONS


def scalar_of(policy: dict[str, Any]) -> Scalar | None:
    settings = PolicySettings(**policy)
    return kind_of(settings).scalar(settings)


CASCADE = {"baseline_name": "cascade"}
SWEPT = {
    name: policy
    for name, policy in DEPLOYABLE.items()
    if scalar_of(policy) is not None and name != "inside"
} | {
    "cascade": CASCADE | {"options": {"threshold": 0.5}},
    "cascade by answers": CASCADE
    | {
        "options": {
            "views": ["no", "coarse", "full"],
            "threshold": -1,
            "confidence": "log_probability",
        }
    },
    "cascade by margin": CASCADE
    | {"options": {"views": ["no", "full"], "threshold": 0.5, "confidence": "margin"}},
}
THRESHOLDS = [[0.3, 0.05], [0.6, 0.2], [0.9, 0.05]]
"""Of a cascade over all actions: one for NO, and one for COARSE."""


def observed(rows: list[Any]) -> tuple[Questions, Observed]:
    """Questions and observations of rows of signals; what a view tells follows from the row."""
    table = signals(rows).assign(flops_text_pass=100)
    image = ImageRef(path="a.png", width=64, height=64, sha256="0" * 64)
    samples = [
        Sample(
            id=name, dataset="text", split="dev", question_type="open", question="?",
            images=[image], category=row[-1],
        )
        for name, row in zip(table["id"], rows, strict=True)
    ]  # fmt: skip
    units_N = np.arange(len(rows))
    everyone_N = np.ones(len(rows), bool)
    questions = Questions(
        "set",
        table["id"].tolist(),
        everyone_N,
        samples,
        units_N,
        ["vqa"] * len(rows),
        ["official"] * len(rows),
    )
    views = {
        view: pd.DataFrame(
            {
                "vision_tokens": table[f"tokens_{view}"],
                "score": (units_N + place) % 2 / 1.0,
                "flops": 10.0 * place,
                "flops_alone": 10.0 * place + 100,
                "entropy": (table["entropy"] + place) % 2,
                "margin": (table["margin"] + place / 8) % 1,
                "log_probability": -((table["entropy"] + place / 4) % 2),
            }
        )
        for place, view in enumerate(ACTIONS)
    }
    return questions, Observed(ACTIONS, table, views)


def expected(rows: list[Any]) -> dict[str, Expected]:
    """What each router expects, by its key."""
    found = ROUTER.expected(np.array([row[-1] for row in rows], dtype=object))
    names = ("bayes_router", "size_router", "dataset_router")
    return {router_key(PolicySettings(baseline_name=name)): found for name in names}


def at_value(policy: dict[str, Any], value: float, rows: list[Any]) -> tuple[Any, ...]:
    """What `decide` says where the policy's setting is the value: actions, tokens and FLOPs."""
    first, _, option = scalar_of(policy).key.partition(".")
    change = {option: value} if option else value
    changed = policy | {first: policy.get("options", {}) | change if option else change}
    questions, seen = observed(rows)
    everyone_N = np.arange(len(rows))
    decision, *costs = execute(
        PolicySettings(**changed), questions, seen, expected(rows), everyone_N
    )
    return decision.actions.tolist(), *(cost.tolist() for cost in costs)


def found(policy: dict[str, Any], rows: list[Any]) -> Frontier:
    questions, seen = observed(rows)
    return frontier_of(PolicySettings(**policy), questions, seen, expected(rows))


@given(st.sampled_from(sorted(SWEPT)), ROWS, st.integers(0, 32))
def test_each_operating_point_is_what_the_policy_decides(
    name: str, rows: list[Any], eighths: int
) -> None:
    """Scores, costs and uncertainties are drawn from few values, so that ties are frequent."""
    policy = SWEPT[name]
    frontier = found(policy, rows)
    reached = [
        (frontier.actions[:, point].tolist(), *(cost[:, point].tolist() for cost in costs))
        for costs in [(frontier.vision_tokens, frontier.flops)]
        for point in range(len(frontier.values))
    ]
    for point in {0, len(reached) // 3, len(reached) - 1}:
        assert reached[point] == at_value(policy, float(frontier.values[point]), rows)
    # Whatever a specification sweeps is one of them, the ends of the scale included.
    low = scalar_of(policy).low
    for value in (max(low, eighths / 8 - 2), eighths / 8, low, math.inf):
        assert at_value(policy, value, rows) in reached


def test_neighbours_differ_and_there_are_not_too_many() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (float(e), float(m), tuple(rng.normal(0, 4, 3)), (0, 4, 16), "text")
        for e, m in rng.random((500, 2)) * 16
    ]
    few, many = found(SWEPT["vovnet"], rows[:50]), found(SWEPT["vovnet"], rows)
    assert len(many.values) == MOST_POINTS > len(few.values) > 30
    for frontier in (few, many):
        assert frontier.values[0] == 0 and (np.diff(frontier.values) > 0).all()
        assert (frontier.actions[:, 1:] != frontier.actions[:, :-1]).any(axis=0).all()
        assert (frontier.actions[:, -1] == 0).all()
        assert (np.diff(frontier.vision_tokens.mean(axis=0)) < 0).all()


def test_one_price_for_all_is_that_of_each_row() -> None:
    scores, costs = [[-1.0, -0.6, -0.1], [-0.2, -0.2, -0.2]] * 2, [[0, 4, 16]] * 4
    prices = [0.0, 0.0, 0.05, math.inf]
    assert choose_actions(scores, costs, prices).tolist() == [2, 0, 1, 0]
    switches = switching_lambdas([[-1.0, 0.0, 1.0]], [[0, 4, 4]])
    assert switches[0, :2].tolist() == [0.25, 0.5] and np.isnan(switches[0, 2])


def test_policies_say_themselves_what_moves_them() -> None:
    options = {"cascade": {"threshold": 0.5}}
    keys = {
        name: scalar_of({"baseline_name": name, "options": options.get(name, {})})
        for name in MODULES
    }
    assert {name: item.key for name, item in keys.items() if item is not None} == {
        None: "lambda_cost",
        "uncertainty_threshold": "baseline_threshold",
        "cascade": "options.threshold",
        **dict.fromkeys(("bayes_router", "size_router", "dataset_router"), "lambda_cost"),
        **dict.fromkeys(("probe", "bag_of_words", "nearest_neighbours"), "lambda_cost"),
    }


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """VoVNet over 1, 5 and 500 values, others matched to it or swept likewise over fewer.

    And a cascade that has a threshold for each view.
    """
    bayes = {"policy": {"baseline_name": "bayes_router"}}
    random = {"policy": {"baseline_name": "random_policy_matched"}}
    stanzas: dict[str, Any] = {}
    for name, count in (("one", 1), ("few", 5), ("many", 500)):
        values = np.linspace(0, 0.3, count).round(6).tolist()
        several = values[:: max(1, count // 20)]
        stanzas[name] = {"role": "vovnet", "sweep": {"lambda_cost": values}}
        stanzas[f"bayes_{name}"] = bayes | {"sweep": {"lambda_cost": several}}
        match = {"experiment": name, "lambda_costs": several}
        stanzas[f"random_{name}"] = random | {"match": match}
    stanzas["cascade"] = {
        "policy": CASCADE | {"options": {"views": list(ACTIONS), "threshold": THRESHOLDS[0]}},
        "sweep": {"options.threshold": THRESHOLDS},
    }
    stanzas = {name: item | {"title": name} for name, item in stanzas.items()}
    folder: Path = tmp_path_factory.mktemp("swept")
    settings, layout = write_world(folder, {"graded": GRADED}, [0], 80)
    value = settings.model_dump() | {"experiments": stanzas}
    settings = validate(value, "test")
    evaluate_all(settings, layout)
    hull_metrics(settings, layout)
    return settings, layout


def test_sweeps_of_1_of_5_and_of_500_values_give_the_same_gain(swept: Any) -> None:
    _, layout = swept
    for name in ("", "bayes_", "random_"):
        one, few, many = (
            hull_rows(layout, name + size).iloc[0].drop(["experiment", "title", "role"])
            for size in ("one", "few", "many")
        )
        for fewer in (one, few):
            pd.testing.assert_series_equal(fewer, many, check_names=False, check_exact=True)
        assert not math.isnan(one["gain_at_25"])


def test_thresholds_for_each_view_are_measured_where_they_are_swept(swept: Any) -> None:
    """No single number moves such a cascade, so that its curve is that of the specification."""
    _, layout = swept
    assert scalar_of(CASCADE | {"options": {"threshold": [0.5]}}) is None
    points = curve_rows(layout, "cascade", "graded", 0)
    results = read_results(layout.eval("cascade") / "results.csv")
    assert len(points) == len(THRESHOLDS) and points["avg_cost"].nunique() > 1
    assert points["avg_cost"].tolist() == pytest.approx(results["avg_cost"].tolist())
    assert points["accuracy"].tolist() == pytest.approx(results["accuracy"].tolist())
    assert points["scalar"].isna().all()
    assert not math.isnan(hull_rows(layout, "cascade").iloc[0]["gain_at_25"])


def test_the_sweep_lies_on_the_frontier(swept: Any) -> None:
    settings, layout = swept
    comparison = Comparison(settings, layout, list(settings.experiments))
    for name in ("many", "bayes_many", "random_many"):
        frontier = comparison.frontier(name, "graded", 0)
        actions_NP = comparison.done(name, "graded", 0)["action"]
        known = {tuple(point) for point in frontier.actions.T.tolist()}
        assert len(frontier.values) < MOST_POINTS
        assert {tuple(point) for point in actions_NP.T.tolist()} <= known

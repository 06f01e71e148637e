"""Policies are pure functions of the text pass's signals."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.properties import given, st
from vovnet.config import PolicySettings
from vovnet.core.arrays import unit_codes, unit_minima
from vovnet.core.cost import expected_cost
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.records import ImageRef, Sample, signal_columns
from vovnet.core.stats import best_choice
from vovnet.policies import MODULES, kind_of, named_kind
from vovnet.policies.base import Confidence, GroupKey
from vovnet.policies.decide import Decision, decide, further_views, setting_columns
from vovnet.policies.router import fit_router, group_of
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

NO, COARSE, FULL = range(3)
CATEGORIES = ["text", "colour", "print"]
ROUTER = fit_router(
    ["text"] * 2 + ["colour"] * 2 + ["print"] * 2,
    np.array([[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 1, 1]], dtype=float),
    np.array([[0, 4, 16]] * 4 + [[0, 2, 8]] * 2, dtype=float),
)
DEPLOYABLE: dict[str, dict[str, Any]] = {
    "vovnet": {"lambda_cost": 0.05},
    "binary": {"lambda_cost": 0.05, "action_space": "binary"},
    "always_full": {"baseline_name": "always_full"},
    "always_coarse": {"baseline_name": "always_coarse"},
    "no_vision": {"baseline_name": "no_vision"},
    "entropy": {"baseline_name": "uncertainty_threshold", "baseline_threshold": 0.5},
    "margin": {
        "baseline_name": "uncertainty_threshold",
        "baseline_uncertainty": "margin",
        "baseline_vision": "coarse",
        "baseline_threshold": 0.5,
    },
    "random": {
        "baseline_name": "random_policy_matched",
        "baseline_target_ratios": (0.5, 0.2, 0.3),
    },
    "buckets": {
        "baseline_name": "random_policy_matched",
        "baseline_bucket_ratios": [(0.8, 0.1, 0.1), (0.1, 0.1, 0.8)],
        "baseline_bucket_thresholds": [1.0],
    },
    "bayes": {"baseline_name": "bayes_router", "lambda_cost": 0.05},
    "size": {"baseline_name": "size_router", "lambda_cost": 0.05},
    "dataset": {"baseline_name": "dataset_router", "lambda_cost": 0.05},
    "fallback": {
        "lambda_cost": 0.1,
        "fallback_mode": "coarse",
        "fallback_entropy_threshold": 1.0,
        "fallback_margin_threshold": 0.1,
    },
    "pruning": {"baseline_name": "vision_token_pruning_proxy", "baseline_pruning_ratio": 0.5},
    "inside": {"lambda_cost": 0.05, "baseline_reduction": "merging", "baseline_merge_ratio": 0.5},
}
"""Policies that see no correctness, by a name for the test."""

ROWS = st.lists(
    st.tuples(
        st.integers(0, 16),  # entropy, in eighths of a nat
        st.integers(0, 16),  # margin, in sixteenths
        st.tuples(*[st.integers(-40, 40)] * 3),  # scores, in quarters
        st.sampled_from([(0, 4, 16), (0, 1, 1), (0, 8, 32)]),
        st.sampled_from([*CATEGORIES, "unseen"]),
    ),
    min_size=1,
    max_size=30,
)


def signals(rows: list[Any]) -> pd.DataFrame:
    table = [
        {
            "id": f"q{index}",
            "entropy": entropy / 8,
            "margin": margin / 16,
            **dict(
                zip(("score_no", "score_coarse", "score_full"), np.array(scores) / 4, strict=True)
            ),
            "text_tokens": 20,
            **{f"tokens_{view}": count for view, count in zip(ACTIONS, tokens, strict=True)},
        }
        for index, (entropy, margin, scores, tokens, _) in enumerate(rows)
    ]
    return pd.DataFrame(table, columns=list(signal_columns(ACTIONS)))


def names(table: pd.DataFrame) -> list[str]:
    """Every row a question of its own."""
    return table["id"].tolist()


def blind_look(rows: np.ndarray, views: np.ndarray) -> Confidence:
    """Views are executed, and tell nothing."""
    nothing = np.full(len(rows), np.nan)
    return Confidence(nothing, nothing, nothing)


def choose(policy: PolicySettings, table: pd.DataFrame, **told: Any) -> Decision:
    """What a policy decides that looks once."""
    return decide(policy, ACTIONS, table, blind_look, **told)


def decided(policy: dict[str, Any], table: pd.DataFrame, groups: list[str]) -> Decision:
    chosen = PolicySettings(**policy)
    routed = kind_of(chosen).router is not None
    return choose(
        chosen,
        table,
        questions=names(table),
        groups=groups if routed else None,
        router=ROUTER if routed else None,
    )


def actions(policy: dict[str, Any], rows: list[Any]) -> list[int]:
    return decided(policy, signals(rows), [row[-1] for row in rows]).actions.tolist()


def question(
    entropy: float = 0, margin: float = 1, scores: tuple[float, ...] = (0, 0, 0)
) -> tuple[Any, ...]:
    """A row for `signals`, in its units."""
    return (entropy * 8, margin * 16, tuple(4 * score for score in scores), (0, 4, 16), "text")


# ---- values by hand ----------------------------------------------------------------------


def test_vovnet_weighs_scores_against_costs() -> None:
    rows = [
        question(scores=(-2.0, -1.0, 0.0)),
        question(scores=(0.0, 0.25, 0.25)),
        question(scores=(-1.0, -1.0, -1.0)),
    ]
    by_lambda = {0.0: [2, 1, 0], 0.0625: [2, 0, 0], 0.125: [1, 0, 0], 0.25: [0, 0, 0]}
    for value, expected in by_lambda.items():
        assert actions({"lambda_cost": value}, rows) == expected, value
    binary = {"lambda_cost": 0.0625, "action_space": "binary"}
    assert actions(binary, [question(scores=(-2.0, 9.0, 0.0))]) == [FULL]
    assert actions({"lambda_cost": math.inf}, rows) == [NO, NO, NO]


def test_cost_scale_is_the_unit_of_lambda() -> None:
    rows = [question(scores=(-2.0, -1.0, 0.0))]
    for value, scale in ((0.125, 1.0), (0.5, 0.25), (0.0625, 2.0)):
        assert actions({"lambda_cost": value, "cost_scale": scale}, rows) == [COARSE]


def test_fixed_policies() -> None:
    rows = [question(), question(2, 0, (0, 9, 9))]
    for name, action in (("no_vision", NO), ("always_coarse", COARSE), ("always_full", FULL)):
        assert actions({"baseline_name": name}, rows) == [action] * 2


def test_thresholds_look_where_the_text_is_unsure() -> None:
    rows = [question(entropy=value, margin=1 - value) for value in (0.0, 0.5, 0.75, 1.0)]
    base = {"baseline_name": "uncertainty_threshold", "baseline_threshold": 0.5}
    assert actions(base, rows) == [NO, NO, FULL, FULL]  # entropy > t
    margin = base | {"baseline_uncertainty": "margin", "baseline_vision": "coarse"}
    assert actions(margin, rows) == [NO, NO, COARSE, COARSE]  # margin < t
    with pytest.raises(ConfigError, match=r"policy\.baseline_threshold"):
        actions({"baseline_name": "uncertainty_threshold"}, rows)


def oracle(name: str, correct: list[list[float]]) -> list[int]:
    policy = PolicySettings(baseline_name=name)
    table = signals([question()] * len(correct))
    chosen = choose(policy, table, questions=names(table), scores_NA_correct=np.array(correct))
    return chosen.actions.tolist()


def test_oracles() -> None:
    correct = [[0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert oracle("oracle", correct) == [FULL, COARSE, NO, NO, NO, COARSE]
    # A guess that is right where FULL is wrong counts for nothing.
    assert oracle("oracle_full_correct", correct) == [FULL, COARSE, NO, FULL, FULL, FULL]
    graded = [[0.3, 0.6, 0.6], [0.9, 0.3, 0.6], [0.3, 0.0, 0.0]]
    assert oracle("oracle", graded) == [COARSE, NO, NO]
    assert oracle("oracle_full_correct", graded) == [COARSE, NO, FULL]


def test_the_oracle_pays_for_no_pass_of_a_lost_question() -> None:
    """Of the first question every pass can be right; of the second one pass cannot."""
    correct = [[0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1], [0, 0, 0]]
    policy, table = PolicySettings(baseline_name="oracle"), signals([question()] * 5)
    asked = ["first", "first", "first", "second", "second"]
    chosen = choose(policy, table, questions=asked, scores_NA_correct=np.array(correct))
    assert chosen.actions.tolist() == [FULL, COARSE, NO, NO, NO]
    assert oracle("oracle", correct) == [FULL, COARSE, NO, COARSE, NO]


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([0, 0.3, 1]), min_size=3, max_size=3), st.integers(0, 3)
        ),
        min_size=1,
        max_size=12,
    )
)
def test_the_oracle_is_the_end_of_the_perfect_choice(rows: list[Any]) -> None:
    """No choice scores more, and none that scores as much costs less."""
    correct_NA = np.array([scores for scores, _ in rows], dtype=float)
    asked = [f"question {group}" for _, group in rows]
    policy, table = PolicySettings(baseline_name="oracle"), signals([question()] * len(rows))
    chosen = choose(policy, table, questions=asked, scores_NA_correct=correct_NA).actions
    at, costs, units_N = (np.arange(len(rows)), chosen), np.array([0, 4, 16]), unit_codes(asked)
    curve = best_choice(np.tile(costs, (len(rows), 1)), correct_NA, units_N)
    assert costs[chosen].mean() == pytest.approx(curve.costs[0, -1])
    assert unit_minima(correct_NA[at], units_N).mean() == pytest.approx(curve.accuracies[0, -1])


@given(st.lists(st.lists(st.integers(0, 10), min_size=3, max_size=3), min_size=1, max_size=20))
def test_nothing_beats_the_oracle(tenths: list[list[int]]) -> None:
    correct_NA = np.array(tenths) / 10
    rows = np.arange(len(tenths))
    costs = np.array([0, 4, 16])
    chosen = np.array(oracle("oracle", correct_NA.tolist()))
    assert (correct_NA[rows, chosen] == correct_NA.max(axis=1)).all()
    best_NA = correct_NA == correct_NA.max(axis=1, keepdims=True)
    assert (costs[chosen] == np.where(best_NA, costs, 99).min(axis=1)).all()
    modest = np.array(oracle("oracle_full_correct", correct_NA.tolist()))
    assert (correct_NA[rows, modest] >= correct_NA[:, FULL]).all()


def test_bayes_router_knows_its_categories() -> None:
    means = {name: facts[0].tolist() for name, facts in ROUTER.means.items()}
    assert means == {"text": [1, 1, 1], "colour": [0, 1, 1], "print": [0, 0.5, 1]}
    assert ROUTER.overall[0] == pytest.approx((1 / 3, 5 / 6, 1))
    rows = [(*question()[:-1], name) for name in (*CATEGORIES, "unseen")]
    base = {"baseline_name": "bayes_router"}
    assert actions(base | {"lambda_cost": 0.0}, rows) == [NO, COARSE, FULL, FULL]
    # FULL costs 12 more than COARSE: 0.5 is worth it at 0.03, 1/6 is not.
    assert actions(base | {"lambda_cost": 0.03}, rows) == [NO, COARSE, FULL, COARSE]
    assert actions(base | {"lambda_cost": 0.05}, rows) == [NO, COARSE, COARSE, COARSE]
    assert actions(base | {"lambda_cost": 0.3}, rows) == [NO, NO, NO, NO]
    assert ROUTER.unseen_rate(["text", "unseen", "text", "text"]) == 0.25


def test_the_dataset_router_does_not_see_the_size_of_an_image() -> None:
    """It spends by the mean cost of its group, so that a group has one action."""
    small, large = ((*question()[:-2], tokens, "colour") for tokens in ((0, 1, 2), (0, 64, 1024)))
    by_size = {"baseline_name": "size_router", "lambda_cost": 0.1}
    assert actions(by_size, [small, large]) == [COARSE, NO]
    by_dataset = by_size | {"baseline_name": "dataset_router"}
    assert actions(by_dataset, [small, large]) == [COARSE, COARSE]
    # COARSE brings 1 for a mean of 4 tokens, at 0.25 it is not worth its cost any more.
    assert actions(by_dataset | {"lambda_cost": 0.25}, [small, large]) == [NO, NO]
    # A dataset that was not fitted on gets the means over all: 1/3, 5/6, 1 for 0, 10/3, 40/3.
    unseen = [(*small[:-1], "unseen")]
    assert [actions(by_dataset | {"lambda_cost": value}, unseen)[0] for value in (0.016, 0.02)] == [
        FULL,
        COARSE,
    ]
    assert actions(by_dataset | {"lambda_cost": 0.16}, unseen) == [NO]


def test_a_router_knows_one_thing_about_a_sample() -> None:
    image = {"path": "images/a.png", "width": 100, "height": 50, "sha256": "0"}
    facts = {"id": "1", "split": "dev", "question_type": "vqa", "question": "?"}
    sample = Sample(**facts, dataset="signs", category="print", images=[ImageRef(**image)] * 2)
    keys: tuple[GroupKey, ...] = ("category", "dataset", "image_size")
    assert [group_of(sample, key) for key in keys] == ["print", "signs", "2^13 px"]
    one = sample.model_copy(update={"images": sample.images[:1]})
    assert group_of(one, "image_size") == "2^12 px"
    edge = sample.images[0].model_copy(update={"width": 64, "height": 64})
    assert group_of(sample.model_copy(update={"images": [edge]}), "image_size") == "2^12 px"
    assert group_of(sample.model_copy(update={"images": []}), "image_size") == "no image"


def test_fallback_overrules_an_unsure_no() -> None:
    sure, unsure = question(0.25, 0.75), question(1.5, 0.25)
    looking = question(1.5, 0.25, scores=(-9, -1, -9))
    rows = [sure, unsure, looking]
    for limit in ({"fallback_entropy_threshold": 1.0}, {"fallback_margin_threshold": 0.5}):
        policy = {"lambda_cost": 0.1, "fallback_mode": "full", **limit}
        decision = decided(policy, signals(rows), [])
        assert decision.actions.tolist() == [NO, FULL, COARSE]
        assert decision.fallback_triggered.tolist() == [False, True, False]
    # Either is enough.
    both = {"fallback_entropy_threshold": 9.0, "fallback_margin_threshold": 0.5}
    assert actions({"lambda_cost": 0.1, "fallback_mode": "coarse", **both}, rows) == [0, 1, 1]
    with pytest.raises(ConfigError, match=r"policy\.fallback_mode"):
        actions({"fallback_mode": "full"}, rows)


# ---- looking again -----------------------------------------------------------------------

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


# ---- any number of actions ---------------------------------------------------------------

MANY = ("no", "side-64", "full", "full+merge-cosine-0.5")


def many_signals() -> pd.DataFrame:
    """Two questions: the head prefers the merged view of the first, and NO of the second."""
    rows = {"id": ["q0", "q1"], "entropy": [1.0, 0.1], "margin": [0.1, 0.9], "text_tokens": 20}
    scores = {"no": [-3, 0], "side-64": [-2, 0], "full": [-1, 0], "full+merge-cosine-0.5": [-1, 0]}
    tokens = dict(zip(MANY, (0, 4, 16, 8), strict=True))
    columns = {f"score_{name}": value for name, value in scores.items()}
    columns |= {f"tokens_{name}": value for name, value in tokens.items()}
    return pd.DataFrame({**rows, **columns, "flops_text_pass": 0})


@pytest.mark.parametrize(
    ("policy", "views"),
    [
        ({"lambda_cost": 0.01}, ["full+merge-cosine-0.5", "no"]),
        ({"lambda_cost": 0.01, "action_space": "binary"}, ["full", "no"]),
        ({"baseline_name": "always_full"}, ["full", "full"]),
        ({"baseline_name": "always_coarse"}, ["coarse", "coarse"]),
        ({"baseline_name": "always_view", "view": 64}, ["side-64", "side-64"]),
        ({"baseline_name": "always_view", "view": "full+pool-2"}, ["full+pool-2", "full+pool-2"]),
        (
            {"baseline_name": "uncertainty_threshold", "baseline_threshold": 0.5}
            | {"baseline_vision": "side-64"},
            ["side-64", "no"],
        ),
        (
            {"baseline_name": "random_policy_matched", "baseline_target_ratios": [0, 0, 0, 1]},
            ["full+merge-cosine-0.5"] * 2,
        ),
        (
            {"baseline_name": "no_vision", "fallback_mode": "side-64"}
            | {"fallback_entropy_threshold": 0.5},
            ["side-64", "no"],
        ),
        (
            {"baseline_name": "token_merge_prune_proxy", "baseline_merge_ratio": 0.5},
            ["full+merge-cosine-0.5"] * 2,
        ),
        (
            {"lambda_cost": 0.01, "reduce": "prune-stride-0.5"},
            ["full+merge-cosine-0.5+prune-stride-0.5", "no"],
        ),
    ],
)
def test_policies_over_other_actions(policy: dict[str, Any], views: list[str]) -> None:
    table = many_signals()
    decision = decide(PolicySettings(**policy), MANY, table, blind_look, questions=names(table))
    assert decision.views.tolist() == views
    shown = [MANY.index(view) if view in MANY else -1 for view in views]
    if "reduce" not in policy:
        assert decision.actions.tolist() == shown


def test_oracles_over_other_actions() -> None:
    table, correct_NA = many_signals(), np.array([[0, 0, 1, 1], [0, 1, 0, 0]], dtype=float)
    told = {"questions": names(table), "scores_NA_correct": correct_NA}
    found = {
        name: decide(PolicySettings(baseline_name=name), MANY, table, blind_look, **told).views
        for name in ("oracle", "oracle_full_correct")
    }
    assert found["oracle"].tolist() == ["full+merge-cosine-0.5", "side-64"]
    assert found["oracle_full_correct"].tolist() == ["full+merge-cosine-0.5", "full"]


def test_shares_are_those_of_the_actions() -> None:
    policy = PolicySettings(
        baseline_name="random_policy_matched", baseline_target_ratios=[0.5, 0, 0.5]
    )
    with pytest.raises(ConfigError, match=r"baseline_target_ratios: .* a share for each of"):
        decide(policy, MANY, many_signals(), blind_look, questions=["q0", "q1"])


# ---- what a policy may read --------------------------------------------------------------


@pytest.mark.parametrize("name", DEPLOYABLE)
def test_a_policy_cannot_be_handed_answers(name: str) -> None:
    """Contract 1: correctness goes to oracles alone, and signals carry nothing else."""
    policy = PolicySettings(**DEPLOYABLE[name])
    table, correct_NA = signals([question()] * 2), np.ones((2, 3))
    routed = {"groups": CATEGORIES[:2], "router": ROUTER} if kind_of(policy).router else {}
    routed["questions"] = ["q0", "q1"]
    choose(policy, table, **routed)
    with pytest.raises(AssertionError):
        choose(policy, table, scores_NA_correct=correct_NA, **routed)
    with pytest.raises(AssertionError):
        choose(policy, table.assign(answer="A"), **routed)


def test_only_oracles_read_correctness() -> None:
    reading = {name for name in MODULES if named_kind(name).reads_correctness}
    assert reading == {"oracle", "oracle_full_correct"}


def test_every_name_is_declared_by_its_module() -> None:
    for name in MODULES:
        kind = kind_of(PolicySettings(baseline_name=name))
        assert kind is named_kind(name) and kind.description.endswith(".")
        assert set(kind.settings) <= set(PolicySettings.model_fields), name
    with pytest.raises(
        ConfigError, match=r"policy\.baseline_name: no policy named 'al.*always_full"
    ):
        kind_of(PolicySettings(baseline_name="al"))


def test_a_missing_signal_is_an_error_where_it_is_read() -> None:
    table = signals([question()] * 3)
    table.loc[1, ["entropy", "score_coarse"]] = math.nan
    for name in ("vovnet", "entropy", "fallback"):
        with pytest.raises(DataError, match=r"sample 'q1': (entropy|score_coarse) is missing"):
            decided(DEPLOYABLE[name], table, [])
    for name in ("binary", "margin", "random", "always_full"):
        assert len(decided(DEPLOYABLE[name], table, []).actions) == 3


def test_results_show_what_a_policy_reads() -> None:
    shown = {name: setting_columns(PolicySettings(**DEPLOYABLE[name])) for name in DEPLOYABLE}
    assert shown["vovnet"] == {"baseline_name": "", "lambda_cost": 0.05}
    assert shown["always_full"] == {"baseline_name": "always_full"}
    assert shown["entropy"] == {"baseline_name": "uncertainty_threshold", "threshold": 0.5}
    assert shown["bayes"] == {"baseline_name": "bayes_router", "lambda_cost": 0.05}
    random = PolicySettings(baseline_name="random_policy_matched", lambda_cost=0.1)
    assert setting_columns(random) == {"baseline_name": "random_policy_matched"}
    assert setting_columns(random, matched=True)["lambda_cost"] == 0.1


# ---- reduced views -----------------------------------------------------------------------

PRUNED = {"baseline_name": "vision_token_pruning_proxy", "baseline_pruning_ratio": 0.5}
MERGED = {"baseline_name": "token_merge_prune_proxy", "baseline_merge_ratio": 0.25}
RESCALED = {"baseline_name": "resolution_scaling_proxy"}
POOLED = {"baseline_name": "multi_granularity_proxy", "baseline_pool_factor": 2}


@pytest.mark.parametrize(
    ("policy", "view", "columns"),
    [
        (PRUNED, "full+prune-stride-0.5", {"pruning_ratio": 0.5}),
        (
            PRUNED | {"baseline_pruning_mode": "topk_norm", "baseline_pruning_ratio": 1},
            "full+prune-topk_norm-1",
            {"pruning_ratio": 1.0},
        ),
        (MERGED, "full+merge-cosine-0.25", {"merge_ratio": 0.25}),
        (
            MERGED
            | {"baseline_merge_mode": "l2", "baseline_merge_weight": "uniform"}
            | {"baseline_enable_prune": True, "baseline_pruning_ratio": 0.5},
            "full+merge-l2-uniform-0.25+prune-stride-0.5",
            {"merge_ratio": 0.25, "pruning_ratio": 0.5},
        ),
        (RESCALED | {"baseline_long_side": 336}, "side-336", {"long_side": 336}),
        (
            RESCALED | {"baseline_budget_mode": "max_pixels", "baseline_max_pixels": 4096},
            "pixels-4096",
            {"max_pixels": 4096},
        ),
        (POOLED, "full+pool-2", {"pool_factor": 2}),
    ],
)
def test_a_proxy_always_shows_its_view(
    policy: dict[str, Any], view: str, columns: dict[str, float]
) -> None:
    chosen = PolicySettings(**policy)
    decision = decided(policy, signals([question()] * 3), [])
    assert decision.actions.tolist() == [-1] * 3
    assert decision.views.tolist() == decision.executed.tolist() == [view] * 3
    assert further_views(chosen, ACTIONS) == [view]
    assert setting_columns(chosen) == {"baseline_name": chosen.baseline_name} | columns


def test_a_reduction_inside_changes_no_action() -> None:
    rows = [question(scores=(-2.0, -1.0, -0.9)), question(scores=(-1.0, -0.99, -0.98))]
    rows.append(question(scores=(-3.0, -2.0, -0.1)))
    plain = {"lambda_cost": 0.05}
    inside = plain | {"baseline_reduction": "pruning", "baseline_pruning_ratio": 0.5}
    policy, table = PolicySettings(**inside), signals(rows)
    decision = decided(inside, table, [])
    assert (
        decision.actions.tolist()
        == decided(plain, table, []).actions.tolist()
        == [COARSE, NO, FULL]
    )
    views = ["coarse+prune-stride-0.5", "no", "full+prune-stride-0.5"]
    assert decision.views.tolist() == views
    assert further_views(policy, ACTIONS) == ["coarse+prune-stride-0.5", "full+prune-stride-0.5"]
    assert setting_columns(policy) == {
        "baseline_name": "",
        "lambda_cost": 0.05,
        "pruning_ratio": 0.5,
    }
    assert decided(plain, table, []).views.tolist() == ["coarse", "no", "full"]
    assert further_views(PolicySettings(**plain), ACTIONS) == []


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (RESCALED, r"policy\.baseline_long_side: .* needs a number of pixels"),
        (RESCALED | {"baseline_budget_mode": "max_pixels"}, r"policy\.baseline_max_pixels: "),
        (MERGED | {"baseline_enable_prune": True}, r"baseline_pruning_ratio below 1"),
        (POOLED | {"baseline_reduction": "pruning"}, r"baseline_reduction: .* once more"),
        ({"baseline_name": "oracle", "baseline_reduction": "pruning"}, "by the signals"),
    ],
)
def test_reductions_that_make_no_sense(policy: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        further_views(PolicySettings(**policy), ACTIONS)


# ---- properties --------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEPLOYABLE)
@given(rows=ROWS, data=st.data())
def test_order_and_batching_change_nothing(name: str, rows: list[Any], data: st.DataObject) -> None:
    policy, table = DEPLOYABLE[name], signals(rows)
    categories = [row[-1] for row in rows]
    whole = decided(policy, table, categories)
    order = data.draw(st.permutations(range(len(rows))))
    shuffled = decided(policy, table.iloc[order], [categories[row] for row in order])
    assert shuffled.actions.tolist() == whole.actions[order].tolist()
    assert shuffled.fallback_triggered.tolist() == whole.fallback_triggered[order].tolist()
    cut = data.draw(st.integers(0, len(rows)))
    parts = [
        decided(policy, table.iloc[part], categories[part]).actions.tolist()
        for part in (slice(cut), slice(cut, None))
        if categories[part]
    ]
    assert [action for part in parts for action in part] == whole.actions.tolist()


@pytest.mark.parametrize("name", DEPLOYABLE)
@given(rows=ROWS)
def test_signals_are_left_as_they_are(name: str, rows: list[Any]) -> None:
    table = signals(rows)
    decided(DEPLOYABLE[name], table, [row[-1] for row in rows])
    pd.testing.assert_frame_equal(table, signals(rows))


@pytest.mark.parametrize("name", ["vovnet", "binary", "bayes", "size"])
@given(rows=ROWS, eighths=st.lists(st.integers(0, 32), min_size=2, max_size=5).map(sorted))
def test_cost_falls_with_lambda(name: str, rows: list[Any], eighths: list[int]) -> None:
    tokens_NA = np.array([row[3] for row in rows])
    spent = []
    for value in eighths:
        chosen = actions(DEPLOYABLE[name] | {"lambda_cost": value / 8}, rows)
        spent.append(tokens_NA[np.arange(len(rows)), chosen])
    for before, after in pairwise(spent):
        assert (after <= before).all()


@given(rows=ROWS, eighths=st.integers(0, 16))
def test_ties_go_to_the_cheaper(rows: list[Any], eighths: int) -> None:
    chosen = actions({"lambda_cost": eighths / 8}, rows)
    for (_, _, scores, tokens, _), action in zip(rows, chosen, strict=True):
        costs = expected_cost(tokens, 1.0)
        values = np.array(scores) / 4 - eighths / 8 * costs
        assert costs[action] == costs[values == values.max()].min()


@given(rows=ROWS, eighths=st.lists(st.integers(0, 16), min_size=2, max_size=2).map(sorted))
def test_a_stricter_threshold_looks_less(rows: list[Any], eighths: list[int]) -> None:
    base = {"baseline_name": "uncertainty_threshold"}
    low, high = (base | {"baseline_threshold": value / 8} for value in eighths)
    assert all(a >= b for a, b in zip(actions(low, rows), actions(high, rows), strict=True))
    margin = {"baseline_uncertainty": "margin"}
    looked = zip(actions(low | margin, rows), actions(high | margin, rows), strict=True)
    assert all(a <= b for a, b in looked)


# ---- random matching ---------------------------------------------------------------------


def random_actions(ratios: tuple[float, float, float] | None, seed: int, count: int) -> np.ndarray:
    policy = PolicySettings(
        baseline_name="random_policy_matched", baseline_target_ratios=ratios, baseline_seed=seed
    )
    table = signals([question()] * count)
    return choose(policy, table, questions=names(table)).actions


@pytest.mark.parametrize(
    "ratios", [(0.5, 0.2, 0.3), (0.0, 0.9, 0.1), (0.05, 0.05, 0.9), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
)
@pytest.mark.parametrize("seed", [0, 42])
def test_shares_are_met_within_sampling_error(
    ratios: tuple[float, float, float], seed: int
) -> None:
    """Four standard errors; shares of 0 and 1 are met exactly."""
    count = 5000
    drawn = random_actions(ratios, seed, count)
    for action, share in enumerate(ratios):
        error = math.sqrt(share * (1 - share) / count)
        assert abs((drawn == action).mean() - share) <= 4 * error


def test_draws_follow_from_seed_and_id() -> None:
    ratios = (0.4, 0.3, 0.3)
    first = random_actions(ratios, 0, 2000)
    assert (random_actions(ratios, 0, 2000) == first).all()
    assert (random_actions(ratios, 0, 500) == first[:500]).all()
    agreeing = (random_actions(ratios, 1, 2000) == first).mean()
    assert agreeing == pytest.approx(0.4**2 + 2 * 0.3**2, abs=0.05)  # independent of each other


def test_passes_of_a_question_draw_alike() -> None:
    """Also across buckets: the number that is drawn is the question's, the shares are the row's."""
    policy = PolicySettings(
        baseline_name="random_policy_matched", baseline_target_ratios=(0.4, 0.2, 0.4)
    )
    table = signals([question(value) for value in (0.0, 2.0)] * 500)
    asked = [f"q{row // 2}" for row in range(1000)]
    drawn_U2 = choose(policy, table, questions=asked).actions.reshape(500, 2)
    assert (drawn_U2[:, 0] == drawn_U2[:, 1]).all()
    assert set(drawn_U2[:, 0]) == {NO, COARSE, FULL}
    alone = choose(policy, table, questions=names(table)).actions.reshape(500, 2)
    assert (alone[:, 0] != alone[:, 1]).any()
    buckets = {
        "baseline_bucket_ratios": [(0.8, 0, 0.2), (0.2, 0, 0.8)],
        "baseline_bucket_thresholds": [1.0],
    }
    unlike = policy.model_copy(update=buckets)
    drawn_U2 = choose(unlike, table, questions=asked).actions.reshape(500, 2)
    assert (drawn_U2[:, 0] <= drawn_U2[:, 1]).all()
    assert (drawn_U2 == FULL).mean(axis=0) == pytest.approx([0.2, 0.8], abs=0.08)


def test_random_needs_shares() -> None:
    with pytest.raises(ConfigError, match=r"policy\.baseline_target_ratios"):
        random_actions(None, 0, 1)


def test_buckets_have_shares_of_their_own() -> None:
    """An entropy at a threshold belongs to the surer bucket."""
    policy = PolicySettings(
        baseline_name="random_policy_matched",
        baseline_bucket_ratios=[(1, 0, 0), (0, 1, 0), (0, 0, 1)],
        baseline_bucket_thresholds=[0.5, 1.0],
    )
    table = signals([question(value) for value in (0.0, 0.5, 0.625, 1.0, 1.25)])
    assert choose(policy, table, questions=names(table)).actions.tolist() == [
        NO,
        NO,
        COARSE,
        COARSE,
        FULL,
    ]
    thirds = policy.model_copy(update={"baseline_bucket_thresholds": None})
    table = signals([question(value) for value in (1.5, 0.25, 0.5, 2.0, 1.0, 0.0)])
    assert choose(thirds, table, questions=names(table)).actions.tolist() == [
        FULL,
        NO,
        COARSE,
        FULL,
        COARSE,
        NO,
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline_bucket_ratios": [(1, 0, 0), (0.5, 0, 0)]}, r"bucket_ratios\.1 must be shares"),
        ({"baseline_bucket_thresholds": [1.0]}, "one fewer than the 3 rows"),
        ({"baseline_bucket_thresholds": [1.0, 0.5]}, "must ascend"),
    ],
)
def test_buckets_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    good = {
        "baseline_bucket_ratios": [(1, 0, 0), (0, 1, 0), (0, 0, 1)],
        "baseline_bucket_thresholds": [0.5, 1.0],
    }
    PolicySettings(**good)
    with pytest.raises(ValueError, match=message):
        PolicySettings(**good | change)

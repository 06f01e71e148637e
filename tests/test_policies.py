"""Policies are pure functions of the text pass's signals."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.policies import (
    CATEGORIES,
    COARSE,
    DEPLOYABLE,
    FULL,
    NO,
    ROUTER,
    ROWS,
    actions,
    blind_look,
    choose,
    decided,
    names,
    question,
    signals,
)
from support.properties import given, st
from vovnet.config import Match, PolicySettings
from vovnet.core.arrays import unit_codes, unit_minima
from vovnet.core.cost import expected_cost
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.records import ImageRef, Sample
from vovnet.core.stats import best_choice
from vovnet.policies import MODULES, kind_of, named_kind
from vovnet.policies.base import Knowledge
from vovnet.policies.decide import decide, setting_columns
from vovnet.policies.fixed import always_shown
from vovnet.policies.router import known_of

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
    facts = {"id": "1", "split": "dev", "question_type": "vqa"} | {"question": "Which one?"}
    sample = Sample(**facts, dataset="signs", category="print", images=[ImageRef(**image)] * 2)
    known: tuple[Knowledge, ...] = ("category", "dataset", "image_size", "words")
    told = [known_of([sample], knows).tolist() for knows in known]
    assert told == [["print"], ["signs"], ["2^13 px"], ["Which one?"]]
    asked = sample.model_copy(update={"hint": "Look.", "choices": {"A": "this", "B": "that"}})
    assert known_of([asked], "words").tolist() == ["Look. Which one? this that"]
    edge = sample.images[0].model_copy(update={"width": 64, "height": 64})
    shown = [sample.images[:1], [edge], []]
    resized = [sample.model_copy(update={"images": images}) for images in shown]
    assert known_of(resized, "image_size").tolist() == ["2^12 px", "2^12 px", "no image"]


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
    routed: dict[str, Any] = {"questions": ["q0", "q1"]}
    if kind_of(policy).router:
        routed["expected"] = ROUTER.expected(np.array(CATEGORIES[:2]))
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
    matched = Match(experiment="other", lambda_costs=[0.1])
    assert setting_columns(random, matched)["lambda_cost"] == 0.1


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


def test_fixed_policies_always_show_one_view() -> None:
    fixed = {"no_vision": "no", "always_coarse": "coarse", "always_full": "full"}
    for name, view in fixed.items():
        assert always_shown(PolicySettings(baseline_name=name)) == view
    assert always_shown(PolicySettings(baseline_name="always_view", view="side-64")) == "side-64"
    always_full: dict[str, Any] = {"baseline_name": "always_full"}
    cascade = {"baseline_name": "cascade", "options": {"views": ["no", "full"], "threshold": -1}}
    changes = ({"reduce": "merge-cosine-0.5"}, {"baseline_reduction": "merging"})
    fallback = {"fallback_mode": "full", "fallback_entropy_threshold": 0.0}
    for other in ({}, cascade, *(always_full | change for change in (*changes, fallback))):
        assert always_shown(PolicySettings(**other)) is None

"""Policies are pure functions of the text pass's signals."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from support.properties import given, st
from vovnet.config import BaselineName, PolicySettings
from vovnet.config.experiments import ROUTERS
from vovnet.core.cost import expected_cost
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.records import ImageRef, Sample, signal_columns
from vovnet.core.stats import best_choice, unit_codes, unit_minima
from vovnet.policies import (
    POLICIES,
    Decision,
    chosen_views,
    decide,
    fit_router,
    group_of,
    kind_of,
    reduced_views,
    setting_columns,
)
from vovnet.policies.router import GroupKey
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


def decided(policy: dict[str, Any], table: pd.DataFrame, groups: list[str]) -> Decision:
    chosen = PolicySettings(**policy)
    routed = kind_of(chosen).router is not None
    return decide(
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
    chosen = decide(policy, table, questions=names(table), scores_NA_correct=np.array(correct))
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
    chosen = decide(policy, table, questions=asked, scores_NA_correct=np.array(correct))
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
    chosen = decide(policy, table, questions=asked, scores_NA_correct=correct_NA).actions
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
    assert ROUTER.means == {"text": (1, 1, 1), "colour": (0, 1, 1), "print": (0, 0.5, 1)}
    assert ROUTER.overall == pytest.approx((1 / 3, 5 / 6, 1))
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


# ---- what a policy may read --------------------------------------------------------------


@pytest.mark.parametrize("name", DEPLOYABLE)
def test_a_policy_cannot_be_handed_answers(name: str) -> None:
    """Contract 1: correctness goes to oracles alone, and signals carry nothing else."""
    policy = PolicySettings(**DEPLOYABLE[name])
    table, correct_NA = signals([question()] * 2), np.ones((2, 3))
    routed = {"groups": CATEGORIES[:2], "router": ROUTER} if kind_of(policy).router else {}
    routed["questions"] = ["q0", "q1"]
    decide(policy, table, **routed)
    with pytest.raises(AssertionError):
        decide(policy, table, scores_NA_correct=correct_NA, **routed)
    with pytest.raises(AssertionError):
        decide(policy, table.assign(answer="A"), **routed)


def test_only_oracles_read_correctness() -> None:
    reading = {name for name, kind in POLICIES.items() if kind.reads_correctness}
    assert reading == {"oracle", "oracle_full_correct"}


def test_every_name_of_the_schema_is_known() -> None:
    assert set(POLICIES) - {None} == set(get_args(BaselineName))
    for name in get_args(BaselineName):
        assert kind_of(PolicySettings(baseline_name=name)) is POLICIES[name]


def test_a_missing_signal_is_an_error_where_it_is_read() -> None:
    table = signals([question()] * 3)
    table.loc[1, ["entropy", "score_coarse"]] = math.nan
    for name in ("vovnet", "entropy", "fallback"):
        with pytest.raises(DataError, match=r"sample 'q1': (entropy|score_coarse) is missing"):
            decided(DEPLOYABLE[name], table, [])
    for name in ("binary", "margin", "random", "always_full"):
        assert len(decided(DEPLOYABLE[name], table, []).actions) == 3


def test_every_router_of_the_suite_is_fitted() -> None:
    assert {name for name, kind in POLICIES.items() if kind.router} == ROUTERS


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
    assert chosen_views(chosen, decision.actions).tolist() == [view] * 3
    assert reduced_views(chosen) == [view]
    assert setting_columns(chosen) == {"baseline_name": chosen.baseline_name} | columns


def test_a_reduction_inside_changes_no_action() -> None:
    rows = [question(scores=(-2.0, -1.0, -0.9)), question(scores=(-1.0, -0.99, -0.98))]
    rows.append(question(scores=(-3.0, -2.0, -0.1)))
    plain = {"lambda_cost": 0.05}
    inside = plain | {"baseline_reduction": "pruning", "baseline_pruning_ratio": 0.5}
    policy, table = PolicySettings(**inside), signals(rows)
    chosen = decided(inside, table, []).actions
    assert chosen.tolist() == decided(plain, table, []).actions.tolist() == [COARSE, NO, FULL]
    views = ["coarse+prune-stride-0.5", "no", "full+prune-stride-0.5"]
    assert chosen_views(policy, chosen).tolist() == views
    assert reduced_views(policy) == ["coarse+prune-stride-0.5", "full+prune-stride-0.5"]
    assert setting_columns(policy) == {
        "baseline_name": "",
        "lambda_cost": 0.05,
        "pruning_ratio": 0.5,
    }
    assert chosen_views(PolicySettings(**plain), chosen).tolist() == ["coarse", "no", "full"]
    assert reduced_views(PolicySettings(**plain)) == []


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
        reduced_views(PolicySettings(**policy))


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
    return decide(policy, table, questions=names(table)).actions


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
    drawn_U2 = decide(policy, table, questions=asked).actions.reshape(500, 2)
    assert (drawn_U2[:, 0] == drawn_U2[:, 1]).all()
    assert set(drawn_U2[:, 0]) == {NO, COARSE, FULL}
    alone = decide(policy, table, questions=names(table)).actions.reshape(500, 2)
    assert (alone[:, 0] != alone[:, 1]).any()
    buckets = {
        "baseline_bucket_ratios": [(0.8, 0, 0.2), (0.2, 0, 0.8)],
        "baseline_bucket_thresholds": [1.0],
    }
    unlike = policy.model_copy(update=buckets)
    drawn_U2 = decide(unlike, table, questions=asked).actions.reshape(500, 2)
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
    assert decide(policy, table, questions=names(table)).actions.tolist() == [
        NO,
        NO,
        COARSE,
        COARSE,
        FULL,
    ]
    thirds = policy.model_copy(update={"baseline_bucket_thresholds": None})
    table = signals([question(value) for value in (1.5, 0.25, 0.5, 2.0, 1.0, 0.0)])
    assert decide(thirds, table, questions=names(table)).actions.tolist() == [
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

"""Suites with other actions than the specification's: any number of views to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.replays import (
    GRADED,
    LAMBDAS,
    World,
    curve_rows,
    evaluate_all,
    hull_rows,
    hull_table,
    samples_of,
    write_reduced,
    write_world,
)
from vovnet.config import merge, validate
from vovnet.core.errors import ConfigError
from vovnet.core.files import read_json
from vovnet.evaluation.ablations import compare_ablations
from vovnet.evaluation.columns import rate_columns, read_results
from vovnet.evaluation.error_slices import write_error_slices
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.evaluation.matched import read_matched

ACTIONS = ["no", "side-64", "side-96", "full", "full+merge-cosine-0.5"]
TOKENS = {"no": 0, "coarse": 4, "side-64": 4, "side-96": 9, "full": 16, "full+merge-cosine-0.5": 8}
NEEDS = (0.4, 0.2, 0.1, 0.2, 0.1)
EXPERIMENTS: dict[str, Any] = {
    **{
        f"always {view}": {"title": view, "policy": {"baseline_name": "always_view", "view": view}}
        for view in ACTIONS
    },
    "always_coarse": {"title": "COARSE", "policy": {"baseline_name": "always_coarse"}},
    "cascade": {
        "title": "Cascade",
        "policy": {"baseline_name": "cascade", "options": {"views": [64, "full"]}},
        "sweep": {"options.threshold": [0.05, 0.2]},
    },
    "fallback": {
        "title": "Fallback",
        "policy": {"fallback_mode": 96, "fallback_entropy_threshold": 0.9, "lambda_cost": 0.1},
    },
    "shorter": {
        "title": "Another run",
        "run": "shorter",
        "role": "vovnet",
        "sweep": {"lambda_cost": LAMBDAS},
    },
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Every experiment over five actions, evaluated and compared; tests only read it."""
    root = tmp_path_factory.mktemp("many")
    overrides = {"actions": ACTIONS, "experiments": EXPERIMENTS}
    overrides |= {"runs": {"vovnet": {}, "shorter": {"training": {"stage2_epochs": 0.5}}}}
    settings, layout = write_world(root, {"graded": NEEDS}, [0, 1], 400, overrides)
    for seed in (0, 1):
        write_reduced(layout, seed, "graded", {"coarse": 0.25})
        other = layout.observations("shorter", seed, "graded")
        other.parent.mkdir(parents=True)
        other.symlink_to(layout.observations("vovnet", seed, "graded"))
    evaluate_all(settings, layout)
    hull_metrics(settings, layout)
    return settings, layout


def results_of(world: World, name: str) -> pd.DataFrame:
    return read_results(world[1].eval(name) / "results.csv")


def test_every_action_has_a_rate(world: World) -> None:
    rates = results_of(world, "vovnet")[list(rate_columns(ACTIONS))]
    assert (rates.sum(axis=1) - 1).abs().max() < 1e-9
    assert (rates.max() > 0).sum() >= 4
    for view in ACTIONS:
        rows = results_of(world, f"always {view}")
        assert (rows[f"action_rate_{view}"] == 1).all()
        assert (rows["avg_vision_tokens"] == TOKENS[view]).all()
    coarse = results_of(world, "always_coarse")  # the view is no action here
    assert coarse[list(rate_columns(ACTIONS))].isna().all().all()
    assert (coarse["avg_vision_tokens"] == TOKENS["coarse"]).all()


def test_always_full_is_the_view_and_not_the_last_action(world: World) -> None:
    for column in ("accuracy", "avg_cost", "action_rate_full"):
        named = results_of(world, "always_full")[column]
        assert named.tolist() == results_of(world, "always full")[column].tolist()


def test_a_matched_policy_copies_all_shares(world: World) -> None:
    _, layout = world
    ratios = read_matched(layout, "random")["graded"][1]
    source, drawn = results_of(world, "vovnet"), results_of(world, "random")
    for row, (value, shares) in zip(
        source[source["seed"] == 1].to_dict("records"), ratios.items(), strict=True
    ):
        assert row["lambda_cost"] == value
        assert shares == [row[name] for name in rate_columns(ACTIONS)]
    for name in rate_columns(ACTIONS):
        assert (source[name] - drawn[name]).abs().max() < 0.1


def test_the_oracle_and_the_router_choose_among_all(world: World) -> None:
    oracle = results_of(world, "oracle")
    accuracies = [results_of(world, f"always {view}")["accuracy"] for view in ACTIONS]
    assert (oracle["accuracy"] >= np.max(accuracies, axis=0)).all()
    assert (oracle[list(rate_columns(ACTIONS))] > 0).all().all()
    full = results_of(world, "oracle_full_correct")
    assert full["accuracy"].tolist() == results_of(world, "always full")["accuracy"].tolist()
    router = results_of(world, "bayes")
    assert ((router[list(rate_columns(ACTIONS))] > 0).sum(axis=1) > 1).any()


def test_the_hull_is_that_of_all_fixed_actions(world: World) -> None:
    _, layout = world
    knots = curve_rows(layout, "mixing_hull", "graded", 0)
    assert knots["avg_cost"].tolist() == sorted(TOKENS[view] for view in ACTIONS)
    for view in ACTIONS:
        (row,) = results_of(world, f"always {view}").query("seed == 0").to_dict("records")
        at = np.interp(row["avg_cost"], knots["avg_cost"], knots["accuracy"])
        assert row["accuracy"] <= at + 1e-12
    row = hull_rows(layout, "vovnet").iloc[0]
    curve = curve_rows(layout, "vovnet", "graded", 0)
    # FULL costs 16, though the dearest action is not the last: half of it is 8.
    ends = [(0.0, accuracy_of(world, "no")), (16.0, accuracy_of(world, "full"))]
    points = [*zip(curve["avg_cost"], curve["accuracy"], strict=True), *ends]
    costs, accuracies = zip(*sorted(points), strict=True)
    gain = np.interp(8, costs, accuracies) - np.interp(8, knots["avg_cost"], knots["accuracy"])
    assert row["gain_at_50"] == pytest.approx(100 * gain, abs=0.2)
    own = hull_table(layout, "equal_cost")
    own = own[own["reference"] == "mixing_hull"].set_index(["experiment", "at"])
    assert own.loc[("always full", "own"), "verdict"] == "undecided"


def accuracy_of(world: World, view: str) -> float:
    rows = results_of(world, f"always {view}")
    return float(rows[rows["seed"] == 0]["accuracy"].iloc[0])


def test_a_cascade_pays_for_every_view(world: World) -> None:
    """The generated answers have an entropy of 0.1 under every view."""
    samples = samples_of(world[1], "cascade")
    paid = samples.groupby("point")[["executed", "vision_tokens", "cost", "action"]].first()
    assert paid["executed"].tolist() == ["side-64>full", "side-64"]
    assert paid["vision_tokens"].tolist() == paid["cost"].tolist() == [20, 4]
    assert paid["action"].tolist() == [3, 1]
    # Tower and language model of both views; no text pass was read.
    assert samples.groupby("point")["flops"].first().tolist() == [
        1000 * (4 + 28 + 16 + 40),
        1000 * (4 + 28),
    ]
    rows = results_of(world, "cascade")
    assert rows["threshold"].tolist() == [0.05, 0.2] * 2
    assert rows["avg_flops"].tolist() == [88_000.0, 32_000.0] * 2
    assert (world[1].eval("cascade") / "pareto_threshold.csv").exists()


def test_what_a_text_pass_costs_is_paid_where_it_is_read(world: World) -> None:
    always, fallback = (samples_of(world[1], name) for name in ("always full", "fallback"))
    assert set(always["flops"]) == {1000 * (16 + 40)}
    for _, row in fallback.groupby("executed").first().iterrows():
        tokens = row["vision_tokens"]
        assert row["flops"] == 20_000 + 1000 * (tokens + 4 + tokens)
    assert set(fallback["executed"]) >= {"no", "side-96"}
    assert (fallback["executed"] == fallback["view"]).all()


def test_slices_and_reliability_know_the_actions(world: World) -> None:
    settings, layout = world
    write_error_slices(settings, layout, "vovnet")
    table = pd.read_csv(layout.eval("vovnet") / "error_slices.csv")
    assert set(rate_columns(ACTIONS)) <= set(table)
    by_action = table[table["field"] == "action"]
    assert set(by_action["value"]) <= set(ACTIONS) and by_action["value"].nunique() >= 4
    skipped = by_action[by_action["value"] == "no"]
    assert skipped["false_skip_rate"].notna().all()
    facts = read_json(layout.eval("vovnet") / "error_slices.json")["reliability"]
    assert {item["kind"] for item in facts} == {"action", "value"}


def test_ablations_have_the_rates_of_all_actions(world: World) -> None:
    rows = compare_ablations(*world).set_index("experiment")
    rates = rows.loc["vovnet", list(rate_columns(ACTIONS))].astype(float)
    assert rates.sum() == pytest.approx(1)
    assert rows.loc["shorter", "difference_accuracy"] == 0


def test_two_actions_are_the_binary_ablation(tmp_path: Path) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], 300)
    binary = {"experiments": {"vovnet": {"policy": {"action_space": "binary"}}}}
    rows = []
    for change in (binary, {"actions": ["no", "full"]}):
        changed = validate(merge(settings.model_dump(), change), "test")
        evaluate_experiment(changed, layout, "vovnet")
        rows.append(read_results(layout.eval("vovnet") / "results.csv"))
    same = ["accuracy", "accuracy_lo", "avg_cost", "action_rate_no", "action_rate_full"]
    pd.testing.assert_frame_equal(rows[0][same], rows[1][same])
    assert (rows[0]["action_rate_coarse"] == 0).all() and "action_rate_coarse" not in rows[1]


def test_an_unknown_key_of_a_sweep(tmp_path: Path) -> None:
    sweep = {"experiments": {"cascade": EXPERIMENTS["cascade"] | {"sweep": {"options.a": [1]}}}}
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], 20, sweep)
    with pytest.raises(ConfigError, match=r"experiments\.cascade\.policy\.options\..*: "):
        evaluate_experiment(settings, layout, "cascade")

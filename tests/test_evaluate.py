"""Replayed experiments over generated observations."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from support.replays import (
    EVEN,
    GRADED,
    LAMBDAS,
    TOKENS,
    World,
    circular,
    curve_rows,
    evaluate_all,
    hull_rows,
    hull_table,
    samples_of,
    write_reduced,
    write_world,
)
from vovnet import cli
from vovnet.config import merge, policy_points, validate
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json, sha256_file, write_json
from vovnet.core.layout import Layout
from vovnet.core.records import signal_columns, write_table
from vovnet.data.samples import read_samples, write_samples
from vovnet.evaluation import questions, replay
from vovnet.evaluation.columns import (
    read_results,
)
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.pipeline.keys import step_settings
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies import named_kind
from vovnet.policies.experiments import needed_views
from vovnet.views import DEFAULT_ACTIONS as ACTIONS


@pytest.fixture
def world(evaluated: World) -> World:
    return evaluated


# ---- the files of an experiment ----------------------------------------------------------


def test_rows_are_the_means_of_the_samples(world: World) -> None:
    settings, layout = world
    for name in settings.experiments:
        results, samples = read_results(layout.eval(name) / "results.csv"), samples_of(layout, name)
        groups = list(samples.groupby(["dataset", "seed", "point"], sort=False))
        assert len(results) == len(groups)
        for (_, row), ((dataset, seed, _), found) in zip(results.iterrows(), groups, strict=True):
            assert (row["experiment"], row["dataset"], row["seed"]) == (name, dataset, seed)
            assert row["num_samples"] == len(found) == 600
            assert row["accuracy"] == pytest.approx(found["score"].mean())
            assert row["accuracy_lo"] < row["accuracy"] < row["accuracy_hi"]
            assert row["avg_cost"] == pytest.approx(TOKENS[found["action"]].mean())
            rates = [float((found["action"] == action).mean()) for action in range(3)]
            assert [row[f"action_rate_{view}"] for view in ACTIONS] == pytest.approx(rates)
            assert yaml.safe_load(row["action_ratio"]) == pytest.approx(rates, abs=1e-6)
            assert found["view"].tolist() == [ACTIONS[action] for action in found["action"]]


def test_predictions_are_what_the_chosen_view_said(world: World) -> None:
    _, layout = world
    samples = samples_of(layout, "vovnet")
    for (dataset, seed, _), found in samples.groupby(["dataset", "seed", "point"]):
        folder = layout.observations("vovnet", seed, dataset)
        for view, rows in found.groupby("view"):
            said = pd.read_parquet(folder / f"{view}.parquet").set_index("id")
            assert rows["prediction"].tolist() == said.loc[rows["id"], "text"].tolist()
            assert rows["vision_tokens"].tolist() == said.loc[rows["id"], "vision_tokens"].tolist()


def test_what_was_not_measured_is_empty(world: World) -> None:
    _, layout = world
    vovnet = read_results(layout.eval("vovnet") / "results.csv")
    assert (vovnet["baseline_name"] == "").all()
    assert vovnet["lambda_cost"].tolist() == LAMBDAS * 4
    unmeasured = ["threshold", "pruning_ratio", "fallback_trigger_rate", "latency_ms"]
    assert vovnet[unmeasured].isna().all().all()
    entropy = read_results(layout.eval("entropy") / "results.csv")
    assert entropy["threshold"].tolist() == [0.3, 0.6, 0.9] * 4
    assert entropy["lambda_cost"].isna().all()
    full = read_results(layout.eval("always_full") / "results.csv")
    assert full[["lambda_cost", "threshold"]].isna().all().all()
    random = read_results(layout.eval("random") / "results.csv")
    assert random["lambda_cost"].tolist() == LAMBDAS * 4  # of the match


def test_sweeps_have_their_files(world: World) -> None:
    _, layout = world
    always = {"results.csv", "summary.json", "samples.parquet"}
    sweep = {
        f"{stem}{end}" for stem in ("pareto_lambda", "eval_matrix") for end in (".csv", ".json")
    }
    expected = {
        "vovnet": always | sweep,
        "bayes": always | sweep,
        "entropy": always | {"pareto_threshold.csv", "pareto_threshold.json"},
        "oracle": always,
        "random": always | {"matched.yaml"},
    }
    for name, files in expected.items():
        assert {path.name for path in layout.eval(name).iterdir()} == files
    matrix = read_json(layout.eval("vovnet") / "eval_matrix.json")
    results = read_results(layout.eval("vovnet") / "results.csv")
    assert [row["accuracy"] for row in matrix] == pytest.approx(results["accuracy"].tolist())
    assert all(row["latency_ms"] is None for row in matrix)


def test_summary_points_to_every_input(world: World) -> None:
    settings, layout = world
    summary = read_json(layout.eval("bayes") / "summary.json")
    found = {(item["set"], item["seed"]) for item in summary["inputs"]}
    sets = (*settings.data.eval_sets, "router_fit")
    assert found == {(name, seed) for name in sets for seed in (0, 1)}
    assert len(summary["inputs"]) == len(found)
    for item in summary["inputs"]:
        path = layout.observation_manifest("vovnet", item["seed"], item["set"], "actions")
        assert item["manifest"] == {"path": str(path), "sha256": sha256_file(path)}
        assert item["checkpoint_hash"] == f"checkpoint of seed {item['seed']}"
        assert item["config_hash"] == f"config of seed {item['seed']}"
        (data,) = item["datasets"]
        assert data["dataset_hash"] == sha256_file(layout.samples(data["dataset"], "dev"))
        assert ("router_unseen_rate" in item) == (item["set"] != "router_fit")
    assert summary["config_hash"] and summary["source_digest"] and summary["versions"]


def test_summary_tells_categories(world: World) -> None:
    _, layout = world
    summary = read_json(layout.eval("vovnet") / "summary.json")
    samples = samples_of(layout, "vovnet")
    assert len(summary["slices"]) == 2 * 2 * len(LAMBDAS)
    for item in summary["slices"]:
        category = {
            sample.id: sample.category
            for sample in read_samples(layout.samples(item["dataset"], "dev"))
        }
        by = zip(samples["dataset"], samples["seed"], samples["point"], strict=True)
        key = (item["dataset"], item["seed"], item["point"])
        rows = samples[[other == key for other in by]]
        rows = rows.assign(category=rows["id"].map(category))
        assert set(item["by_category"]) == {"needs_no", "needs_coarse", "needs_full"}
        for name, found in rows.groupby("category"):
            part = item["by_category"][name]
            assert part["num_samples"] == len(found)
            assert part["accuracy"] == pytest.approx(found["score"].mean())
            full = (found["action"] == 2).mean()
            assert part["action_shares"]["full"] == pytest.approx(full)


# ---- contracts ---------------------------------------------------------------------------


def test_answers_reach_oracles_only(tmp_path: Path) -> None:
    """Contract 1: other gold answers change scores, but no action and no prediction."""
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0])
    evaluate_all(settings, layout)
    before = {name: samples_of(layout, name) for name in settings.experiments}
    path = layout.samples("graded", "dev")
    changed = [
        sample.model_copy(update={"answer": "ABCD"["BCDA".index(sample.answer)]})
        for sample in read_samples(path)
    ]
    write_samples(path, changed)
    evaluate_all(settings, layout)
    for name, item in settings.experiments.items():
        after = samples_of(layout, name)
        kind = named_kind(item.policy.get("baseline_name"))
        same = after["action"].equals(before[name]["action"])
        assert same != kind.reads_correctness, name
        assert not after["score"].equals(before[name]["score"])
        if same:
            assert after["prediction"].equals(before[name]["prediction"])


def test_equal_inputs_give_equal_bytes(world: World) -> None:
    settings, layout = world
    files = [
        *(
            layout.eval("vovnet") / name
            for name in ("results.csv", "samples.parquet", "summary.json")
        ),
        layout.hull / "hull_metrics.csv",
        layout.hull / "curves.csv",
        layout.hull / "equal_cost.csv",
        layout.hull / "manifest.json",
    ]
    before = {path: path.read_bytes() for path in files}
    evaluate_experiment(settings, layout, "vovnet")
    hull_metrics(settings, layout)
    assert {path: path.read_bytes() for path in files} == before


def test_experiments_run_from_their_own_settings(world: World, tmp_path: Path) -> None:
    """The configuration that the DAG writes for an experiment is all that evaluation reads."""
    settings, layout = world
    for folder in ("data", "observations", "eval"):
        (tmp_path / folder).symlink_to(layout.root / folder, target_is_directory=True)
    for name in ("vovnet", "bayes", "random"):
        value = step_settings(settings, "evaluate", experiment=name)
        own = validate(value | {"results_dir": str(tmp_path)}, name)
        before = (layout.eval(name) / "results.csv").read_bytes()
        evaluate_experiment(own, Layout(tmp_path), name)
        assert (layout.eval(name) / "results.csv").read_bytes() == before


def test_a_text_is_scored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0, 1], count=50)
    scored: list[tuple[str, str]] = []
    original = questions.score_sample

    def counted(scorer: str, sample: Any, text: str, *options: Any) -> Any:
        scored.append((sample.id, text))
        return original(scorer, sample, text, *options)

    monkeypatch.setattr(questions, "score_sample", counted)
    evaluate_experiment(settings, layout, "vovnet")
    assert len(scored) == len(set(scored)) <= 100


# ---- sets and policies -------------------------------------------------------------------


def test_a_circular_group_is_right_when_every_pass_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    settings = circular(layout, "all")
    evaluate_experiment(settings, layout, "full")
    (row,) = read_results(layout.eval("full") / "results.csv").to_dict("records")
    assert row["num_samples"] == 3
    assert row["accuracy"] == pytest.approx(1 / 3)
    assert row["avg_cost"] == pytest.approx(16 * 3.5)  # over the six rows
    assert len(samples_of(layout, "full")) == 6
    (item,) = read_json(layout.eval("full") / "summary.json")["slices"]
    assert set(item["by_category"]) == {"c"}
    assert item["by_category"]["c"]["num_samples"] == 3
    assert item["by_category"]["c"]["accuracy"] == pytest.approx(1 / 3)


def test_the_first_pass_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    settings = circular(layout, "first")
    evaluate_experiment(settings, layout, "full")
    (row,) = read_results(layout.eval("full") / "results.csv").to_dict("records")
    assert (row["num_samples"], row["accuracy"]) == (3, pytest.approx(2 / 3))


def test_max_samples_counts_questions(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    settings = circular(layout, "all")
    evaluate_experiment(settings, layout, "one")
    (row,) = read_results(layout.eval("one") / "results.csv").to_dict("records")
    assert (row["num_samples"], row["accuracy"]) == (2, 0.5)
    assert samples_of(layout, "one")["id"].tolist() == ["q0-0", "q0-1", "q1-0", "q1-1"]
    evaluate_experiment(settings, layout, "full")
    hull_metrics(settings, layout)  # each beside the fixed policies on its own questions
    points = hull_table(layout, "curves").set_index("experiment")
    assert points.loc["one", "accuracy"] == 0.5


def test_a_sweep_may_go_over_policies(world: World, tmp_path: Path) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0])
    names = ["oracle", "bayes_router", "no_vision", "always_full"]
    extra = {"title": "all", "sweep": {"baseline_name": names}}
    settings = validate(merge(settings.model_dump(), {"experiments": {"all": extra}}), "test")
    evaluate_experiment(settings, layout, "all")
    results = read_results(layout.eval("all") / "results.csv")
    assert results["baseline_name"].tolist() == names
    evaluate_experiment(settings, layout, "oracle")
    alone = read_results(layout.eval("oracle") / "results.csv")
    assert results["accuracy"][0] == alone["accuracy"][0]


def test_fallback_is_reported(tmp_path: Path) -> None:
    policy = {"fallback_mode": "full", "fallback_entropy_threshold": 0.6}
    settings, layout = write_world(
        tmp_path, {"graded": GRADED}, [0], overrides={"experiments": {"vovnet": {"policy": policy}}}
    )
    evaluate_experiment(settings, layout, "vovnet")
    results, samples = (
        read_results(layout.eval("vovnet") / "results.csv"),
        samples_of(layout, "vovnet"),
    )
    rates = samples.groupby("point")["fallback_triggered"].mean()
    assert results["fallback_trigger_rate"].tolist() == pytest.approx(rates.tolist())
    assert 0 < rates.iloc[-1] < 1
    assert (samples.loc[samples["fallback_triggered"], "view"] == "full").all()
    assert results["avg_cost"].tolist() == pytest.approx(
        samples["view"]
        .map(dict(zip(ACTIONS, TOKENS, strict=True)))
        .groupby(samples["point"])
        .mean()
    )


def test_a_summary_tells_actions_before_the_fallback(tmp_path: Path) -> None:
    """They are those of the same policy without one, and the fallback moves NO to FULL."""
    fallback = {
        "title": "Fallback",
        "policy": {"fallback_mode": "full", "fallback_entropy_threshold": 0.6},
        "sweep": {"lambda_cost": LAMBDAS},
    }
    settings, layout = write_world(
        tmp_path, {"graded": GRADED}, [0], overrides={"experiments": {"fallback": fallback}}
    )
    for name in ("vovnet", "fallback"):
        evaluate_experiment(settings, layout, name)
    slices, plain = (
        read_json(layout.eval(name) / "summary.json")["slices"] for name in ("fallback", "vovnet")
    )
    for item, without in zip(slices, plain, strict=True):
        assert "action_shares_before_fallback" not in without
        before, after = item["action_shares_before_fallback"], item["action_shares"]
        assert before == without["action_shares"]
        rate = item["fallback_trigger_rate"]
        assert after["no"] == pytest.approx(before["no"] - rate)
        assert after["coarse"] == before["coarse"]
        assert after["full"] == pytest.approx(before["full"] + rate)
    assert 0 < slices[-1]["fallback_trigger_rate"] < 1


def swept(lambdas: list[float]) -> dict[str, Any]:
    """VoVNet at these values, and random choice that is matched to them."""
    matched = {"match": {"lambda_costs": lambdas}}
    return {"vovnet": {"sweep": {"lambda_cost": lambdas}}, "random": matched}


def test_infinite_lambda_never_looks(tmp_path: Path) -> None:
    lambdas = [0.0, float("inf")]
    sweep = {"experiments": swept(lambdas)}
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], overrides=sweep)
    evaluate_experiment(settings, layout, "vovnet")
    results = read_results(layout.eval("vovnet") / "results.csv")
    assert results["lambda_cost"].tolist() == [0.0, float("inf")]
    assert results["action_rate_no"].iloc[1] == 1
    policies = read_json(layout.eval("vovnet") / "summary.json")["policies"]
    assert [policy["lambda_cost"] for policy in policies] == [0.0, "inf"]


def test_bayes_router_reads_the_training_split(world: World) -> None:
    """At lambda 0 it takes the best action of each category there; the dearer it is, the less."""
    settings, layout = world
    policies = policy_points(settings, "bayes")
    routers = replay.load_routers(TrainedModel(settings, layout, "vovnet", 0), policies)
    assert set(routers["bayes_router"].means) == {"needs_no", "needs_coarse", "needs_full"}
    results = read_results(layout.eval("bayes") / "results.csv")
    for _, rows in results.groupby(["dataset", "seed"]):
        assert (np.diff(rows["avg_cost"]) <= 0).all()
        assert rows["avg_cost"].iloc[-1] < rows["avg_cost"].iloc[0]


def test_humble_routers_know_one_thing(tmp_path: Path) -> None:
    """One image size and one dataset: each point has one action, and FULL is left as lambda grows.

    The set is not the one they were fitted on, so the dataset router has seen none of it.
    """
    names = ("size_router", "dataset_router")
    sweep = {"lambda_cost": [0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.5]}
    stanzas = {
        name: {"title": name, "policy": {"baseline_name": name}, "sweep": sweep} for name in names
    }
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], 200, {"experiments": stanzas})
    for name in names:
        evaluate_experiment(settings, layout, name)
        results = read_results(layout.eval(name) / "results.csv")
        assert results["lambda_cost"].tolist() == sweep["lambda_cost"]
        rates = results[[f"action_rate_{view}" for view in ACTIONS]].to_numpy()
        assert set(rates.flat) == {0.0, 1.0}
        assert results["avg_cost"].is_monotonic_decreasing
        assert (results["avg_cost"].iloc[0], results["avg_cost"].iloc[-1]) == (16, 0)
    unseen = [
        next(
            item["router_unseen_rate"]
            for item in read_json(layout.eval(name) / "summary.json")["inputs"]
            if item["set"] == "graded"
        )
        for name in names
    ]
    assert unseen == [{"image_size": 0.0}, {"dataset": 1.0}]


# ---- bad input, commands, speed ----------------------------------------------------------


def test_observations_of_other_samples_are_refused(tmp_path: Path) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0])
    path = layout.observations("vovnet", 0, "graded") / "signals.parquet"
    table = pd.read_parquet(path)
    for wrong, message in (
        (table.iloc[[1, 0, *range(2, 300)]], "row 1 is 'q1', the set has 'q0'"),
        (table.iloc[:-1], "it has 299 rows, the set 300"),
    ):
        write_table(path, wrong, signal_columns(ACTIONS))
        with pytest.raises(DataError, match=message):
            evaluate_experiment(settings, layout, "no_vision")


def test_a_missing_signal_names_its_sample(tmp_path: Path) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0])
    path = layout.observations("vovnet", 0, "graded") / "signals.parquet"
    table = pd.read_parquet(path)
    table.loc[4, "entropy"] = np.nan
    write_table(path, table, signal_columns(ACTIONS))
    with pytest.raises(DataError, match="'q4': entropy is missing"):
        evaluate_experiment(settings, layout, "entropy")
    evaluate_experiment(settings, layout, "vovnet")  # does not read it


# ---- reduced views -----------------------------------------------------------------------

KEPT = {"full+prune-stride-1": 1.0, "full+prune-stride-0.5": 0.5, "full+prune-stride-0.25": 0.25}
INSIDE = {"coarse+prune-stride-0.5": 0.125, "full+prune-stride-0.5": 0.5}
REDUCED = {
    "pruning": {
        "title": "Pruned FULL",
        "policy": {"baseline_name": "vision_token_pruning_proxy"},
        "sweep": {"baseline_pruning_ratio": [1.0, 0.5, 0.25]},
    },
    "inside": {
        "title": "VoVNet, pruned",
        "role": "vovnet",
        "policy": {"baseline_reduction": "pruning", "baseline_pruning_ratio": 0.5},
        "sweep": {"lambda_cost": LAMBDAS},
    },
}


@pytest.fixture
def reduced(tmp_path: Path) -> World:
    changed = {"experiments": REDUCED}
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0, 1], 200, changed)
    for seed in (0, 1):
        write_reduced(layout, seed, "graded", KEPT | INSIDE)
    return settings, layout


def test_a_proxy_has_a_row_for_every_ratio(reduced: World) -> None:
    settings, layout = reduced
    for name in ("pruning", "always_full"):
        evaluate_experiment(settings, layout, name)
    rows = read_results(layout.eval("pruning") / "results.csv")
    full = read_results(layout.eval("always_full") / "results.csv")
    assert rows["baseline_name"].unique().tolist() == ["vision_token_pruning_proxy"]
    assert rows["pruning_ratio"].tolist() == [1.0, 0.5, 0.25] * 2
    assert rows["avg_vision_tokens"].tolist() == rows["avg_cost"].tolist() == [16, 8, 4] * 2
    # Not reduced, it is FULL in everything but its name.
    measured = ["accuracy", "accuracy_lo", "accuracy_hi", "avg_cost"]
    unreduced = rows[rows["pruning_ratio"] == 1].reset_index()
    pd.testing.assert_frame_equal(unreduced[measured], full[measured])
    empty = [*(f"action_rate_{view}" for view in ACTIONS), "action_ratio", "merge_ratio"]
    assert (
        rows[[*empty, "pool_factor", "long_side", "max_pixels", "lambda_cost"]].isna().all().all()
    )
    samples = samples_of(layout, "pruning")
    assert set(samples["action"]) == {-1}
    assert sorted(samples["view"].unique()) == sorted(KEPT)
    for view, found in samples.groupby("view"):
        said = pd.read_parquet(layout.observations("vovnet", 0, "graded") / f"{view}.parquet")
        assert found[found["seed"] == 0]["prediction"].tolist() == said["text"].tolist()
    assert (layout.eval("pruning") / "pareto_pruning.json").exists()
    copied = pd.read_csv(layout.eval("pruning") / "pareto_pruning.csv")
    assert copied["pruning_ratio"].tolist() == [1.0, 0.5, 0.25] * 2


def test_a_reduction_inside_shows_the_chosen_view_reduced(reduced: World) -> None:
    settings, layout = reduced
    for name in ("vovnet", "inside"):
        evaluate_experiment(settings, layout, name)
    plain, inside = samples_of(layout, "vovnet"), samples_of(layout, "inside")
    assert plain["action"].tolist() == inside["action"].tolist()
    views = {0: "no", 1: "coarse+prune-stride-0.5", 2: "full+prune-stride-0.5"}
    assert inside["view"].tolist() == [views[action] for action in inside["action"]]
    assert inside["vision_tokens"].tolist() == [[0, 2, 8][action] for action in inside["action"]]
    folder = layout.observations("vovnet", 1, "graded")
    for view, rows in inside[inside["seed"] == 1].groupby("view"):
        said = pd.read_parquet(folder / f"{view}.parquet").set_index("id")
        assert rows["prediction"].tolist() == said.loc[rows["id"], "text"].tolist()
    results = read_results(layout.eval("inside") / "results.csv")
    assert (results["pruning_ratio"] == 0.5).all()
    assert results["lambda_cost"].tolist() == LAMBDAS * 2
    assert results["action_rate_full"].notna().all()


def test_reduced_views_are_compared_with_the_hull(reduced: World) -> None:
    settings, layout = reduced
    evaluate_all(settings, layout)
    hull_metrics(settings, layout)
    row = hull_rows(layout, "pruning").iloc[0]
    results = read_results(layout.eval("pruning") / "results.csv")
    # The point at half of FULL's cost is the pruned one itself.
    half = results["accuracy"].iloc[1]
    curve = curve_rows(layout, "pruning", "graded", 0)
    assert curve["accuracy"].tolist() == results["accuracy"][:3].tolist()
    hull = curve_rows(layout, "mixing_hull", "graded", 0)
    assert row["gain_at_50"] == pytest.approx(
        100 * (half - np.interp(8, hull["avg_cost"], hull["accuracy"]))
    )


def test_the_summary_points_to_the_reduced_views(reduced: World) -> None:
    settings, layout = reduced
    evaluate_experiment(settings, layout, "pruning")
    facts = read_json(layout.eval("pruning") / "summary.json")["inputs"][0]["views"]
    path = layout.observation_manifest("vovnet", 0, "graded", "views")
    assert facts["manifest"] == {"path": str(path), "sha256": sha256_file(path)}
    assert facts["names"] == list(KEPT)


def test_reduced_views_of_another_model_are_refused(reduced: World) -> None:
    settings, layout = reduced
    path = layout.observation_manifest("vovnet", 1, "graded", "views")
    manifest = read_json(path)
    write_json(path, manifest | {"key": {"checkpoint": "another"}})
    with pytest.raises(DataError, match="of another model, observe the reduced views"):
        evaluate_experiment(settings, layout, "pruning")
    del manifest["outputs"]["full+prune-stride-0.25"]
    write_json(path, manifest)
    with pytest.raises(DataError, match=r"view 'full\+prune-stride-0\.25' is missing"):
        evaluate_experiment(settings, layout, "pruning")
    assert not any(layout.eval("pruning").iterdir())


def test_needed_views_are_those_of_the_replayed_experiments(reduced: World) -> None:
    settings, _ = reduced
    assert needed_views(settings, "vovnet", 0, "graded") == sorted(KEPT | INSIDE)
    assert needed_views(settings, "vovnet", 2, "graded") == []
    assert needed_views(settings, "vovnet", 0, "router_fit") == []
    live = {"experiments": {name: {"mode": "live"} for name in REDUCED}}
    changed = validate(merge(settings.model_dump(), live), "test")
    assert needed_views(changed, "vovnet", 0, "graded") == []


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("nothing", {}, "no experiment named 'nothing'"),
        (
            "vovnet",
            {"policy": {"baseline_name": "bayes"}},
            r"vovnet\.policy\.baseline_name: no policy",
        ),
        ("vovnet", {"policy": {"options": {"a": 1}}}, r"vovnet\.policy\.options\.a: unknown key"),
        (
            "vovnet",
            {
                "policy": {"baseline_name": "resolution_scaling_proxy"},
                "sweep": {"lambda_cost": LAMBDAS},
            },
            r"policy\.baseline_long_side: resolution_scaling_proxy",
        ),
    ],
)
def test_wrong_experiments(
    tmp_path: Path, name: str, overrides: dict[str, Any], message: str
) -> None:
    changed = {"experiments": {"vovnet": overrides}}
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], 20, changed)
    with pytest.raises(ConfigError, match=message):
        evaluate_experiment(settings, layout, name)
    assert not layout.eval(name).exists()


def test_a_manifest_without_hashes_is_refused(tmp_path: Path) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], 20)
    layout.observation_manifest("vovnet", 0, "graded", "actions").write_text("{}")
    with pytest.raises(DataError, match=r"manifest\.json: .*'config_hash' is missing"):
        evaluate_experiment(settings, layout, "vovnet")


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], 40)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    options = ["--config", str(config)]
    for name, item in settings.experiments.items():
        if item.match:
            assert cli.main(["match", *options, "--experiment", name]) == 0
        assert cli.main(["evaluate", *options, "--experiment", name]) == 0
    assert cli.main(["hull_metrics", *options]) == 0
    out = capsys.readouterr().out
    assert str(layout.eval("random") / "matched.yaml") in out
    assert str(layout.hull / "curves.csv") in out
    assert cli.main(["evaluate", *options, "--experiment", "nothing"]) == 2
    assert "no experiment named 'nothing'" in capsys.readouterr().err
    assert cli.main(["match", *options, "--experiment", "oracle"]) == 2


def test_decisions_load_no_torch() -> None:
    code = (
        "import sys, vovnet.commands.steps;"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_an_experiment_takes_seconds(tmp_path: Path) -> None:
    """3 sets of 1,000 questions, 3 seeds, 10 points, 2,000 resamples: 1.5 s on one idle core."""
    sweep = {"experiments": swept([0.01 * i for i in range(10)])}
    overrides = sweep | {"eval": {"bootstrap_samples": 2000}}
    sets = {"a": GRADED, "b": GRADED, "c": EVEN}
    settings, layout = write_world(tmp_path, sets, [0, 1, 2], 1000, overrides)
    began = time.perf_counter()
    evaluate_experiment(settings, layout, "vovnet")
    assert time.perf_counter() - began < 20

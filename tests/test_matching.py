"""Matched random policies: the ratios they copy, and the file that carries them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from support.replays import GRADED, LAMBDAS, configuration, forget_outputs, write_world
from vovnet.config import Settings, merge, validate
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.layout import Layout
from vovnet.core.records import read_table, signal_columns, write_table
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS, read_results, write_results
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.match import write_matched
from vovnet.evaluation.matched import Buckets, matched_path, points_on, read_matched
from vovnet.policies.experiments import resolve_experiment
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

World = tuple[Settings, Layout]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """VoVNet is evaluated, the random policy that copies it is not."""
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0, 1], count=400)
    evaluate_experiment(settings, layout, "vovnet")
    return settings, layout


def with_match(settings: Settings, lambdas: list[float]) -> Settings:
    match = {"match": {"experiment": "vovnet", "lambda_costs": lambdas}}
    value = merge(settings.model_dump(), {"experiments": {"random": match}})
    return validate(value, "test")


def edit_matched(layout: Layout, change: dict[str, Any]) -> None:
    path = matched_path(layout, "random")
    path.write_text(yaml.safe_dump(merge(yaml.safe_load(path.read_text()), change)))


def test_the_file_holds_the_ratios_of_the_results(world: World) -> None:
    settings, layout = world
    draws = {"runs": {"vovnet": {"policy": {"baseline_seed": 7}}}}
    write_matched(validate(merge(settings.model_dump(), draws), "test"), layout, "random")
    results = read_results(layout.eval("vovnet") / "results.csv")
    matched = read_matched(layout, "random")
    assert set(matched) == {"graded"} and set(matched["graded"]) == {0, 1}
    for _, row in results.iterrows():
        rates = [row[f"action_rate_{view}"] for view in ACTIONS]
        assert matched["graded"][row["seed"]][row["lambda_cost"]] == rates
    text = yaml.safe_load(matched_path(layout, "random").read_text())
    assert text["policy"] == {"baseline_name": "random_policy_matched", "baseline_seed": 7}
    assert text["matched_experiment"] == "vovnet"


def test_writing_again_gives_the_same_bytes(world: World) -> None:
    settings, layout = world
    write_matched(settings, layout, "random")
    before = matched_path(layout, "random").read_bytes()
    write_matched(settings, layout, "random")
    assert matched_path(layout, "random").read_bytes() == before


@pytest.mark.parametrize("value", [0.0, 1e-5, 0.02, 100.0, float("inf")])
def test_lambdas_survive_the_file(world: World, value: float) -> None:
    settings, layout = world
    results = read_results(layout.eval("vovnet") / "results.csv")
    results["lambda_cost"] = results["lambda_cost"].replace(0.05, value)
    write_results(layout.eval("vovnet") / "results.csv", results.to_dict("records"), ACTIONS)
    forget_outputs(layout.eval("vovnet") / "summary.json")
    swept = sorted({value if lambda_cost == 0.05 else lambda_cost for lambda_cost in LAMBDAS})
    sweep = {"experiments": {"vovnet": {"sweep": {"lambda_cost": swept}}}}
    settings = validate(merge(with_match(settings, [0.0]).model_dump(), sweep), "test")
    settings = with_match(settings, [value])
    write_matched(settings, layout, "random")
    matched = read_matched(layout, "random")
    (point,) = points_on(ResolvedExperiment.of(settings, "random"), layout, "graded", 1)
    expected = matched["graded"][1][value]
    assert point.baseline_target_ratios == expected
    assert sum(expected) == pytest.approx(1)


def test_random_spends_as_its_model(world: World) -> None:
    """Shares within four standard errors of 400 draws, 0.1 at most."""
    settings, layout = world
    write_matched(settings, layout, "random")
    evaluate_experiment(settings, layout, "random")
    results = {
        name: read_results(layout.eval(name) / "results.csv") for name in ("vovnet", "random")
    }
    assert results["random"]["lambda_cost"].tolist() == LAMBDAS * 2
    for view in ACTIONS:
        rates = [results[name][f"action_rate_{view}"] for name in ("vovnet", "random")]
        assert (rates[0] - rates[1]).abs().max() < 0.1
    assert results["random"]["accuracy"].mean() < results["vovnet"]["accuracy"].mean()


def test_ratios_without_a_match_are_the_policys_own(world: World) -> None:
    settings, layout = world
    value = settings.model_dump()
    policy = {"baseline_name": "random_policy_matched", "baseline_target_ratios": [0, 0.25, 0.75]}
    value["experiments"]["random"] |= {"match": None, "policy": policy}
    evaluate_experiment(validate(value, "test"), layout, "random")
    results = read_results(layout.eval("random") / "results.csv")
    assert results["lambda_cost"].isna().all()
    assert (results["action_rate_no"] == 0).all()
    assert results["action_rate_full"].tolist() == pytest.approx([0.75, 0.75], abs=0.09)


# ---- by bucket of entropy ------------------------------------------------------------------


def with_buckets(settings: Settings, **policy: Any) -> Settings:
    change = {"match": {"buckets": 3}, "policy": policy}
    value = merge(settings.model_dump(), {"experiments": {"random": change}})
    return validate(value, "test")


def entropies(layout: Layout, seed: int) -> np.ndarray:
    path = layout.observations("vovnet", seed, "graded") / "signals.parquet"
    return read_table(path, signal_columns(ACTIONS))["entropy"].to_numpy()


def actions_at(layout: Layout, name: str, seed: int, point: int) -> np.ndarray:
    samples = read_table(layout.eval(name) / "samples.parquet", SAMPLE_RESULT_COLUMNS)
    rows = samples[(samples["seed"] == seed) & (samples["point"] == point)]
    return rows["action"].to_numpy()


@pytest.mark.parametrize("limits", [None, [0.5, 0.9]])
def test_buckets_hold_the_ratios_of_their_questions(
    world: World, limits: list[float] | None
) -> None:
    settings, layout = world
    own = {} if limits is None else {"baseline_bucket_thresholds": limits}
    settings = with_buckets(settings, **own)
    write_matched(settings, layout, "random")
    matched = read_matched(layout, "random")
    for seed in (0, 1):
        entropy_N = entropies(layout, seed)
        for index, value in enumerate(LAMBDAS):
            found = matched["graded"][seed][value]
            assert isinstance(found, Buckets)
            low, high = limits or np.quantile(entropy_N, [1 / 3, 2 / 3])
            assert found.thresholds == pytest.approx([low, high])
            did_N = actions_at(layout, "vovnet", seed, index)
            parts = (entropy_N <= low, (entropy_N > low) & (entropy_N <= high), entropy_N > high)
            for part_N, ratios in zip(parts, found.ratios, strict=True):
                expected = [(did_N[part_N] == action).mean() for action in range(3)]
                assert ratios == pytest.approx(expected)
            points = points_on(ResolvedExperiment.of(settings, "random"), layout, "graded", seed)
            assert points[index].baseline_bucket_ratios == found.ratios
            assert points[index].baseline_bucket_thresholds == found.thresholds


def test_buckets_spend_where_the_model_does(world: World) -> None:
    """Four standard errors of 133 draws are 0.17; without buckets the surest part is 0.3 off."""
    settings, layout = world
    settings = with_buckets(settings)
    write_matched(settings, layout, "random")
    evaluate_experiment(settings, layout, "random")
    for seed in (0, 1):
        entropy_N = entropies(layout, seed)
        sure_N = entropy_N <= np.quantile(entropy_N, 1 / 3)
        for point in range(len(LAMBDAS)):
            rates = [
                (actions_at(layout, name, seed, point)[sure_N] == 0).mean()
                for name in ("vovnet", "random")
            ]
            assert abs(rates[0] - rates[1]) < 0.17
    results = read_results(layout.eval("random") / "results.csv")
    assert results["lambda_cost"].tolist() == LAMBDAS * 2


def test_a_bucket_without_questions_has_the_ratios_of_all(world: World) -> None:
    settings, layout = world
    settings = with_buckets(settings, baseline_bucket_thresholds=[0.5, 99.0])
    write_matched(settings, layout, "random")
    found = read_matched(layout, "random")["graded"][0][0.02]
    assert isinstance(found, Buckets)
    did_N = actions_at(layout, "vovnet", 0, LAMBDAS.index(0.02))
    expected = [(did_N == action).mean() for action in range(3)]
    assert found.ratios[2] == pytest.approx(expected)


def test_buckets_of_another_number(world: World) -> None:
    settings, _ = world
    with pytest.raises(ConfigError, match=r"match\.buckets: expected 2, for 1 .* got 3"):
        with_buckets(settings, baseline_bucket_thresholds=[0.5])


def test_a_sample_that_was_not_observed(world: World) -> None:
    settings, layout = world
    path = layout.observations("vovnet", 1, "graded") / "signals.parquet"
    table = read_table(path, signal_columns(ACTIONS))
    write_table(path, table[table["id"] != "q7"], signal_columns(ACTIONS))
    with pytest.raises(DataError, match=r"signals\.parquet: no entropy of sample 'q7'"):
        write_matched(with_buckets(settings), layout, "random")


# ---- bad input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sweep": {"baseline_seed": [1, 2]}},
            r"experiments\.random\.sweep: a match has one point per .* no sweep of 'baseline_seed'",
        ),
        (
            {"policy": {"baseline_name": "uncertainty_threshold"}},
            r"experiments\.random\.match: expected .* got 'uncertainty_threshold'",
        ),
        ({"policy": {"baseline_name": None}}, r"experiments\.random\.match: expected .* got None"),
        (
            {"policy": {"baseline_bucket_ratios": [(1, 0, 0), (0, 0, 1)]}},
            r"experiments\.random\.policy\.baseline_bucket_ratios: the ratios come from match",
        ),
        (
            {"policy": {"baseline_target_ratios": (1, 0, 0)}},
            r"experiments\.random\.policy\.baseline_target_ratios: the ratios come from match",
        ),
    ],
)
def test_what_a_match_would_drop_is_refused(
    world: World, change: dict[str, Any], message: str
) -> None:
    value = merge(world[0].model_dump(), {"experiments": {"random": change}})
    with pytest.raises(ConfigError, match=message):
        resolve_experiment(validate(value, "test"), "random")


AT = {"lambda_costs": [0.02]}
BELOW = {"lambda_costs": None, "thresholds": [0.5]}
CASCADE = {"baseline_name": "cascade", "options": {"threshold": [0.5]}}
SIDE = {"baseline_name": "uncertainty_threshold", "baseline_vision": "side-64"}
BAYES = {"baseline_name": "bayes_router"}


@pytest.mark.parametrize(
    ("source", "match", "message"),
    [
        ({}, {"lambda_costs": [0.0, 0.03]}, r"match: 'vovnet' has no row with lambda_cost 0\.03,"),
        ({}, BELOW, "match: 'vovnet' has no row with threshold 0.5, expected an experiment that"),
        ({"sweep": {"baseline_threshold": [0.5]}}, BELOW, "'vovnet' has no row with threshold"),
        ({"sweep": {"baseline_threshold": [0.1, 0.2]}}, AT, "'vovnet' has 2 rows with lambda_cost"),
        (
            {"sweep": {"lambda_cost": [0, 1e-10]}},
            {"lambda_costs": [1e-10]},
            r"'vovnet' has 2 rows with lambda_cost 1e-10, expected one in \[0\.0, 1e-10\]",
        ),
        ({"sweep": {}, "policy": {"baseline_name": "always_full"}}, AT, "no row with lambda_cost"),
        ({"sweep": {}, "policy": CASCADE}, BELOW, "has no row with threshold"),
        (
            {"sweep": {"baseline_threshold": [0.5]}, "policy": SIDE},
            BELOW,
            r"'vovnet' may answer from 'side-64', which is no action and has no ratio",
        ),
        (
            {"sweep": {"lambda_cost": [0.02]}, "run": "logs", "policy": BAYES},
            AT | {"buckets": 3},
            r"match\.buckets: expected none, .* of which no log of run 'logs' tells",
        ),
    ],
)
def test_a_match_names_rows_that_there_are(
    tmp_path: Path, source: dict[str, Any], match: dict[str, Any], message: str
) -> None:
    value = configuration(tmp_path, ["graded"], [0])
    logs = {"graded": {"views": {view: {"file": "a.jsonl"} for view in ACTIONS}}}
    value["runs"] = {"vovnet": {}, "logs": {"imported": logs}}
    value["experiments"]["vovnet"].update(source)
    stanza = value["experiments"]["random"]
    stanza["match"] |= match
    if source.get("run"):
        stanza |= {"run": "logs"}
    with pytest.raises(ConfigError, match=rf"^experiments\.random\..*{message}"):
        resolve_experiment(validate(value, "test"), "random")


def test_thresholds_are_those_that_a_source_follows(tmp_path: Path) -> None:
    """Whatever its key is called: a cascade has an option of its own."""
    value = configuration(tmp_path, ["graded"], [0])
    cascade = {"title": "C", "policy": CASCADE, "sweep": {"options.threshold": [0.1, 0.5]}}
    value["experiments"]["cascade"] = cascade
    value["experiments"]["random"]["match"] = {"experiment": "cascade", "thresholds": [0.5]}
    resolve_experiment(validate(value, "test"), "random")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"seeds": [0]}, r"seeds: .* \[0\], .* got 1"),
        ({"datasets": ["graded"]}, r"datasets: .* 'more'"),
    ],
)
def test_a_match_has_the_sets_and_seeds_of_its_source(
    world: World, source: dict[str, Any], message: str
) -> None:
    value = merge(world[0].model_dump(), {"experiments": {"vovnet": source}})
    value["data"]["eval_sets"]["more"] = value["data"]["eval_sets"]["graded"]
    with pytest.raises(ConfigError, match=rf"^experiments\.random\.{message}"):
        resolve_experiment(validate(value, "test"), "random")


def test_a_run_may_not_bring_ratios_to_a_match(world: World) -> None:
    ratios = {"policy": {"baseline_bucket_ratios": [(1, 0, 0), (0, 0, 1)]}}
    value = merge(world[0].model_dump(), {"runs": {"vovnet": ratios}})
    with pytest.raises(ConfigError, match=r"baseline_bucket_ratios: the ratios come from match"):
        resolve_experiment(validate(value, "test"), "random")


def test_rows_are_known_by_thresholds_too(world: World) -> None:
    settings, layout = world
    matched = {"lambda_costs": None, "experiment": "entropy", "thresholds": [0.3, 0.9]}
    overrides = {
        "entropy": {"sweep": {"baseline_threshold": [0.3, 0.9]}},
        "random": {"match": matched},
    }
    settings = validate(merge(settings.model_dump(), {"experiments": overrides}), "test")
    for name in ("entropy", "random"):
        if name == "random":
            write_matched(settings, layout, name)
        evaluate_experiment(settings, layout, name)
    target, drawn = (read_results(layout.eval(name) / "results.csv") for name in overrides)
    assert drawn["threshold"].tolist() == target["threshold"].tolist()
    assert drawn["lambda_cost"].isna().all()
    rates = [f"action_rate_{view}" for view in ACTIONS]
    assert (target[rates] - drawn[rates]).abs().max(axis=None) < 0.1
    assert target["action_rate_no"].nunique() > 1


@pytest.mark.parametrize("change", [{}, {"lambda_costs": [0.1], "thresholds": [0.1]}])
def test_a_match_names_its_rows_in_one_way(change: dict[str, Any]) -> None:
    match = {"experiment": "vovnet"} | change
    stanzas = {name: {"title": name} for name in ("vovnet", "random")}
    stanzas["random"] |= {"match": match}
    with pytest.raises(ConfigError, match="match needs either lambda_costs or thresholds"):
        validate({"experiments": stanzas}, "test")


def test_an_experiment_without_match(world: World) -> None:
    settings, layout = world
    with pytest.raises(ConfigError, match=r"experiments\.oracle: no match"):
        write_matched(settings, layout, "oracle")
    with pytest.raises(ConfigError, match="no experiment named 'nothing', expected one of"):
        write_matched(settings, layout, "nothing")


def test_a_lambda_that_was_not_evaluated(world: World) -> None:
    settings, layout = world
    path = layout.eval("vovnet") / "results.csv"
    results = read_results(path)
    write_results(path, results[results["lambda_cost"] != 0.05].to_dict("records"), ACTIONS)
    forget_outputs(path.with_name("summary.json"))
    with pytest.raises(DataError, match=r"results\.csv: no row for graded, seed 0, .* 0\.05"):
        write_matched(with_match(settings, [0.05]), layout, "random")


def test_results_without_action_rates(world: World) -> None:
    settings, layout = world
    path = layout.eval("vovnet") / "results.csv"
    results = read_results(path)
    results["action_rate_full"] = float("nan")
    write_results(path, results.to_dict("records"), ACTIONS)
    forget_outputs(path.with_name("summary.json"))
    with pytest.raises(DataError, match=r"expected shares of .*full.* that sum to 1"):
        write_matched(settings, layout, "random")


def test_a_missing_file_says_how_to_write_it(world: World) -> None:
    settings, layout = world
    with pytest.raises(DataError, match=r"matched\.yaml: file not found, `vovnet match"):
        evaluate_experiment(settings, layout, "random")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratios": {"graded": {0: {0.0: [0.5, 0.5, 0.5]}}}}, "that sum to 1"),
        ({"ratios": {"graded": {0: {0.0: [-0.5, 1.0, 0.5]}}}}, "that sum to 1"),
        ({"ratios": {"graded": {0: {0.0: [0.5, 0.5]}}}}, "that sum to 1"),
        ({"ratios": {"graded": {0: {"x": [1, 0, 0]}}}}, "a share per action"),
        ({"ratios": [1]}, "a share per action"),
        ({"ratios": {"graded": {0: None}}}, "a share per action"),
        ({"ratios": {"graded": {0: {0.0: {"ratios": [[1, 0, 0]] * 2}}}}}, "thresholds"),
        (
            {"ratios": {"graded": {0: {0.0: {"thresholds": [1], "ratios": [[1, 0, 0]]}}}}},
            "thresholds",
        ),
    ],
)
def test_a_broken_file(world: World, change: dict[str, Any], message: str) -> None:
    settings, layout = world
    write_matched(settings, layout, "random")
    edit_matched(layout, change)
    with pytest.raises(DataError, match=rf"matched\.yaml: .*{message}"):
        evaluate_experiment(settings, layout, "random")


def test_ratios_of_another_set_or_seed(world: World) -> None:
    settings, layout = world
    write_matched(settings, layout, "random")
    experiment = ResolvedExperiment.of(settings, "random")
    for dataset, seed in (("other", 0), ("graded", 7)):
        with pytest.raises(DataError, match=rf"{dataset}, seed {seed}: no ratios for"):
            points_on(experiment, layout, dataset, seed)


def test_every_seed_draws_for_itself(world: World) -> None:
    """Seeds are independent repetitions: at like ratios they agree only as often as by chance."""
    settings, layout = world
    write_matched(settings, layout, "random")
    evaluate_experiment(settings, layout, "random")
    point = LAMBDAS.index(0.02)
    draws = [actions_at(layout, "random", seed, point) for seed in (0, 1)]
    shares = [np.bincount(draw_N, minlength=3) / len(draw_N) for draw_N in draws]
    assert shares[0] == pytest.approx(shares[1], abs=0.1)
    by_chance = float(shares[0] @ shares[1])
    assert (draws[0] == draws[1]).mean() == pytest.approx(by_chance, abs=0.1)

"""Error slices and what scores tell: by hand, against the generated world, and by command."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from support.replays import GRADED, LAMBDAS, circular, forget_outputs, write_world
from vovnet import cli
from vovnet.config import PolicySettings, Settings
from vovnet.core.errors import DataError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.core.records import read_table, write_table
from vovnet.core.resampling import wilson_interval
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS, rate_columns
from vovnet.evaluation.error_slices import FIELDS, octave, slices_of, worst, write_error_slices
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.questions import load_questions
from vovnet.evaluation.reliability import (
    CERTAIN,
    action_probabilities,
    action_reliability,
    area_under_roc,
    correctness_reliability,
    expected_calibration_error,
    value_reliability,
)
from vovnet.evaluation.replay import load_observed
from vovnet.pipeline.trained_model import TrainedModel

World = tuple[Settings, Layout]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """VoVNet and a fixed policy, evaluated and cut into slices; tests only read them."""
    root = tmp_path_factory.mktemp("slices")
    settings, layout = write_world(root, {"graded": GRADED}, [0, 1], count=400)
    for name in ("vovnet", "no_vision"):
        evaluate_experiment(settings, layout, name)
        write_error_slices(settings, layout, name)
    return settings, layout


def slices(layout: Layout, name: str = "vovnet") -> pd.DataFrame:
    return pd.read_csv(layout.eval(name) / "error_slices.csv", keep_default_na=True)


# ---- slices ------------------------------------------------------------------------------


def test_wilsons_interval() -> None:
    """Values of the textbook example: 10 of 20 give 0.2993 to 0.7007; ends stay in [0, 1]."""
    assert wilson_interval(0.5, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert wilson_interval(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    low, high = wilson_interval(1.0, 10)
    assert (low, high) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_octaves() -> None:
    assert [octave(count) for count in (0, 1, 2, 3, 4, 7, 8, 15, 16)] == [
        "0", "1", "2-3", "2-3", "4-7", "4-7", "8-15", "8-15", "16-31",
    ]  # fmt: skip


def test_slices_of_actions_are_means_of_their_samples(world: World) -> None:
    settings, layout = world
    table = slices(layout)
    rates = [name for name in table if name.startswith("action_rate_")]
    assert rates == list(rate_columns(settings.actions))
    samples = read_table(layout.eval("vovnet") / "samples.parquet", SAMPLE_RESULT_COLUMNS)
    questions = load_questions(settings, layout, "graded")
    checked = 0
    for (seed, point), rows in samples.groupby(["seed", "point"]):
        observed = load_observed(TrainedModel(settings, layout, "vovnet", seed), questions)
        for view, found in rows.groupby("view"):
            at = found.index - rows.index[0]
            (row,) = table[
                (table["seed"] == seed) & (table["point"] == point)
                & (table["field"] == "action") & (table["value"] == view)
            ].to_dict("records")  # fmt: skip
            assert row["lambda_cost"] == LAMBDAS[point]
            assert row["num_rows"] == row["num_questions"] == len(found)
            assert row["accuracy"] == pytest.approx(found["score"].mean())
            assert row["avg_cost"] == pytest.approx(found["cost"].mean())
            assert row["avg_entropy"] == pytest.approx(observed.signals["entropy"].iloc[at].mean())
            if view == "no":
                better = observed.scores[at, 2] > found["score"].to_numpy()
                assert row["false_skip_rate"] == pytest.approx(better.mean())
                assert row["false_skip_lo"] <= row["false_skip_rate"] <= row["false_skip_hi"]
            else:
                assert math.isnan(row["false_skip_rate"])
            checked += 1
    assert checked > 20


def test_fields_cut_the_whole_set(world: World) -> None:
    """The slices of a field that every question has add up to the whole."""
    _, layout = world
    table = slices(layout)
    for _, rows in table.groupby(["seed", "point"]):
        (whole,) = rows[rows["field"] == "all"].to_dict("records")
        for field in ("category", "question_type", "image_size", "num_choices", "answer_words"):
            parts = rows[rows["field"] == field]
            assert parts["num_questions"].sum() == whole["num_questions"] == 400
            mean = np.average(parts["accuracy"], weights=parts["num_questions"])
            assert mean == pytest.approx(whole["accuracy"])
            assert parts["num_skips"].sum() == whole["num_skips"]
            assert (parts["gap"] - (parts["accuracy"] - whole["accuracy"])).abs().max() < 1e-12


def test_never_looking_skips_wrongly_where_full_is_needed(world: World) -> None:
    settings, layout = world
    table = slices(layout, "no_vision")
    assert table["lambda_cost"].isna().all()
    questions = load_questions(settings, layout, "graded")
    for seed in (0, 1):
        scores_NA = load_observed(TrainedModel(settings, layout, "vovnet", seed), questions).scores
        rows = table[(table["seed"] == seed) & (table["field"] == "all")]
        expected = (scores_NA[:, 2] > scores_NA[:, 0]).mean()
        assert rows["false_skip_rate"].tolist() == pytest.approx([expected])
    first = worst(table)
    assert first[first["field"] == "category"]["value"].iloc[0] in ("needs_full", "needs_coarse")


def test_circular_passes_are_one_question(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    settings = circular(layout, "all")
    evaluate_experiment(settings, layout, "full")
    write_error_slices(settings, layout, "full")
    table = slices(layout, "full").set_index(["field", "value"])
    row = table.loc[("category", "c")]
    assert (row["num_questions"], row["num_rows"]) == (3, 6)
    assert row["accuracy"] == pytest.approx(1 / 3)
    assert (row["accuracy_lo"], row["accuracy_hi"]) == pytest.approx(wilson_interval(1 / 3, 3))
    by_row = table.loc[("action", "full")]
    assert by_row["accuracy"] == pytest.approx(0.5)  # of single passes
    assert by_row["num_questions"] == 3
    assert (row["gap"], by_row["gap"]) == (0, 0)  # each is the whole set, in its own unit


def passes_of(
    clusters_N: np.ndarray, scores_N: np.ndarray, units_N: np.ndarray | None = None
) -> pd.DataFrame:
    """Rows that are answered without looking, wrongly where the score is 0."""
    units_N = np.arange(len(clusters_N)) if units_N is None else units_N
    given = {"unit": units_N, "cluster": clusters_N, "score": scores_N, "action": 0}
    further = {"entropy": 0.0, "cost": 0.0, "false_skip": scores_N == 0}
    return pd.DataFrame(given | further | dict.fromkeys(FIELDS, ""))


@pytest.mark.parametrize("chance", [0.5, 0.7])
def test_intervals_hold_where_clusters_differ_in_size(chance: float) -> None:
    """Fifty questions about one image, all right or all wrong, and fifty about images of theirs."""
    rng = np.random.default_rng(0)
    clusters_N = np.maximum(np.arange(100) - 49, 0)
    covered = []
    for _ in range(200):
        scores_N = (rng.random(51) < chance).astype(float)[clusters_N]
        whole, by_row = slices_of(passes_of(clusters_N, scores_N), ["no"])
        for row in (whole, by_row):
            told = row["accuracy_lo"] <= chance <= row["accuracy_hi"]
            skips = row["false_skip_lo"] <= 1 - chance <= row["false_skip_hi"]
            covered.append((told, skips))
    assert (np.mean(covered, axis=0) >= 0.94).all()


def test_what_is_averaged_tells_how_large_a_cluster_is() -> None:
    """A question of fifty passes is one question of 51, but half of the rows."""
    units_N = np.maximum(np.arange(100) - 49, 0)
    scores_N = (units_N % 3 == 0).astype(float)
    whole, by_row = slices_of(passes_of(units_N, scores_N, units_N), ["no"])
    for row, count in ((whole, 51), (by_row, 100**2 / (50**2 + 50))):
        ends = wilson_interval(row["accuracy"], count)
        assert (row["accuracy_lo"], row["accuracy_hi"]) == pytest.approx(ends)
    assert whole["accuracy"] == pytest.approx(17 / 51) and by_row["accuracy"] > 0.6


def test_worst_slices_are_sure_ones() -> None:
    """Two wrong answers out of two do not beat sixty out of a hundred."""
    keys = {"dataset": "d", "seed": 0, "point": 0, "lambda_cost": 0.1, "field": "category"}
    rows = []
    for value, count, accuracy in (("few", 2, 0.0), ("many", 100, 0.4), ("good", 100, 0.9)):
        ends = wilson_interval(accuracy, count)
        rows.append(keys | {"value": value, "num_questions": count, "accuracy": accuracy}
                    | {"accuracy_hi": ends[1], "gap": accuracy - 0.6})  # fmt: skip
    assert worst(pd.DataFrame(rows))["value"].tolist() == ["many", "few"]


# ---- what scores tell --------------------------------------------------------------------


def test_area_under_the_curve_by_hand() -> None:
    """Positives at 3 and 1, negatives at 2 and 1: of four pairs 2 in order and a tie."""
    predicted_N, positive_N = np.array([3.0, 1, 2, 1]), np.array([True, True, False, False])
    assert area_under_roc(predicted_N, positive_N) == pytest.approx(2.5 / 4)
    assert area_under_roc(predicted_N, np.ones(4, dtype=bool)) is None
    assert area_under_roc(np.array([]), np.array([], dtype=bool)) is None


def test_calibration_error_by_hand() -> None:
    """Two bins: of three samples, of which two happened, and of one that did not."""
    probability_N, happened_N = (
        np.array([0.7, 0.7, 0.72, 0.3]),
        np.array([True, True, False, False]),
    )
    error = (abs(2.12 / 3 - 2 / 3) * 3 + 0.3) / 4
    assert expected_calibration_error(probability_N, happened_N) == pytest.approx(error)
    assert expected_calibration_error(np.array([]), np.array([], dtype=bool)) is None


def test_the_odds_of_a_value_are_held_against_which_answer_is_better() -> None:
    """Of 100 questions that just one view answers, FULL answers 80: the odds are log 4."""
    correct_N2 = np.array([[0.0, 1]] * 80 + [[1.0, 0]] * 20 + [[1.0, 1]] * 50)
    assert value_reliability(np.full(150, math.log(4)), correct_N2)["ece"] == pytest.approx(0)
    assert value_reliability(np.zeros(150), correct_N2)["ece"] == pytest.approx(0.3)
    assert value_reliability(np.zeros(50), correct_N2[100:])["ece"] is None


def test_probabilities_are_those_of_training() -> None:
    policy = PolicySettings(lambda_cost=0.5, entropy_weight=2.0)
    scores, costs = np.array([[0.0, 1.0, 3.0]]), np.array([[0.0, 2.0, 4.0]])
    weights = np.exp([0.0, 0.0, 0.5])
    assert action_probabilities(policy, scores, costs)[0] == pytest.approx(weights / weights.sum())
    never = policy.model_copy(update={"lambda_cost": math.inf})
    assert action_probabilities(never, scores, costs).tolist() == [[1, 0, 0]]


def test_benefit_is_measured_by_the_value_of_a_head_that_knows() -> None:
    """Answers are drawn from their true probabilities, scores are logarithms of these.

    The benefit of a bin is the mean of p_full - p_no in it, within four standard errors. It is no
    function of the value alone, and it does not change with a constant in both scores of a sample.
    """
    rng = np.random.default_rng(0)
    count = 20_000
    chances_N2 = rng.uniform(0.05, 0.99, (count, 2))
    correct_N2 = (rng.random((count, 2)) < chances_N2).astype(float)
    scores_N2 = np.log(chances_N2) + rng.normal(0, 1, (count, 1))
    value_N = scores_N2[:, 1] - scores_N2[:, 0]
    found = value_reliability(value_N, correct_N2)
    assert found["num_samples"] == count == sum(item["count"] for item in found["bins"])
    assert [item["count"] for item in found["bins"]] == [count // 10] * 10
    gain_N = (chances_N2[:, 1] - chances_N2[:, 0])[np.argsort(value_N)]
    for item, gains in zip(found["bins"], np.split(gain_N, 10), strict=True):
        assert item["measured"] == pytest.approx(gains.mean(), abs=4 / np.sqrt(count // 10))
    assert found["auc"] > 0.7
    inverted = value_reliability(-value_N, correct_N2)
    assert inverted["auc"] == pytest.approx(1 - found["auc"])
    assert inverted["bins"][0]["measured"] > 0 > inverted["bins"][-1]["measured"]
    same = value_reliability(value_N, np.ones((count, 2)))
    assert same["auc"] is None
    assert {item["measured"] for item in same["bins"]} == {0}


def test_equal_values_share_a_bin() -> None:
    found = value_reliability(np.zeros(50), np.ones((50, 2)) * [0, 1])
    assert found["bins"] == [{"predicted": 0, "measured": 1, "count": 50}]
    assert value_reliability(np.zeros(0), np.zeros((0, 2)))["bins"] == []


def test_the_best_action_is_the_cheapest_right_one() -> None:
    tokens = np.array([[0, 4, 16]] * 2)
    scores = np.array([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    correct = np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    found = action_reliability(PolicySettings(), scores, tokens, correct)
    (only,) = found["bins"]
    assert only["measured"] == 0.5 and only["predicted"] > 0.99
    assert found["ece"] == pytest.approx(only["predicted"] - 0.5)
    binary = PolicySettings(action_space="binary")
    assert action_reliability(binary, scores, tokens, correct)["num_samples"] == 2


def test_scores_of_what_was_expected_by_hand() -> None:
    """Graded scores too; a wrong certainty costs what `CERTAIN` grants, and not infinitely much."""
    found = correctness_reliability(np.array([0.8, 0.8, 0.25, 0.0]), np.array([1.0, 0.3, 0.0, 1.0]))
    assert found["brier"] == pytest.approx((0.04 + 0.25 + 0.0625 + 1) / 4)
    losses = [math.log(0.8), 0.3 * math.log(0.8) + 0.7 * math.log(0.2), math.log(0.75)]
    assert found["log_loss"] == pytest.approx(-(sum(losses) + math.log(CERTAIN)) / 4)
    assert found["ece"] == pytest.approx((2 * (0.8 - 0.65) + 0.25 + 1) / 4)
    assert (found["expected"], found["measured"]) == pytest.approx((1.85 / 4, 2.3 / 4))
    assert [item["count"] for item in found["bins"]] == [1, 1, 2]


def test_the_true_chance_has_the_lowest_scores() -> None:
    """Proper scoring: whoever tells more, less or nothing about what may happen scores higher."""
    rng = np.random.default_rng(0)
    chance_N = rng.uniform(0.05, 0.95, 20_000)
    score_N = (rng.random(len(chance_N)) < chance_N).astype(float)
    true = correctness_reliability(chance_N, score_N)
    assert true["ece"] < 0.01 and true["brier"] < true["brier_of_mean"]
    for told_N in (chance_N**2, chance_N.clip(0.3, 0.7), np.full_like(chance_N, score_N.mean())):
        other = correctness_reliability(told_N, score_N)
        assert other["brier"] > true["brier"] and other["log_loss"] > true["log_loss"]


def test_the_file_has_both_readings_of_every_point(world: World) -> None:
    _, layout = world
    facts = read_json(layout.eval("vovnet") / "error_slices.json")
    kinds = [(item["seed"], item["point"], item["kind"]) for item in facts["reliability"]]
    assert len(kinds) == len(set(kinds)) == 2 * len(LAMBDAS) * 2
    assert all(item["auc"] > 0.5 for item in facts["reliability"] if item["kind"] == "value")
    assert read_json(layout.eval("no_vision") / "error_slices.json")["reliability"] == []
    assert {row["value"] for row in facts["by_action"]} == {"no", "coarse", "full"}


# ---- files and command -------------------------------------------------------------------


def test_equal_inputs_give_equal_bytes(world: World) -> None:
    settings, layout = world
    files = [layout.eval("vovnet") / f"error_slices{end}" for end in (".csv", ".json")]
    before = [path.read_bytes() for path in files]
    assert write_error_slices(settings, layout, "vovnet") == files
    assert [path.read_bytes() for path in files] == before


def test_samples_of_another_set_are_refused(tmp_path: Path) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], count=40)
    evaluate_experiment(settings, layout, "vovnet")
    path = layout.eval("vovnet") / "samples.parquet"
    table = read_table(path, SAMPLE_RESULT_COLUMNS)
    write_table(path, table[table["id"] != "q7"], SAMPLE_RESULT_COLUMNS)
    forget_outputs(path.with_name("summary.json"))
    with pytest.raises(DataError, match=r"samples\.parquet: .*graded.* evaluate 'vovnet' again"):
        write_error_slices(settings, layout, "vovnet")
    assert not (layout.eval("vovnet") / "error_slices.csv").exists()


def test_the_command(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, layout = world
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    options = ["error_slices", "--config", str(config)]
    assert cli.main([*options, "--experiment", "vovnet"]) == 0
    assert str(layout.eval("vovnet") / "error_slices.json") in capsys.readouterr().out
    assert cli.main([*options, "--experiment", "nothing"]) == 2
    assert cli.main(options) == 2
    assert cli.main([*options, "--experiment", "vovnet", "--output_dir", str(tmp_path)]) == 2
    assert "expected --experiment, or" in capsys.readouterr().err

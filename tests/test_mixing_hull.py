"""Experiments against the mixing hull: gains, captured shares, curves and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.replays import (
    ACTIONS,
    EVEN,
    FIXED,
    GRADED,
    World,
    curve_rows,
    evaluate_all,
    hull_rows,
    hull_table,
    samples_of,
    write_world,
)
from vovnet.config import validate
from vovnet.core.cost import choose_actions
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json, write_json
from vovnet.core.layout import Layout
from vovnet.core.recorded import content_hash
from vovnet.core.records import read_table, write_table
from vovnet.core.stats import MOST_POINTS
from vovnet.evaluation import columns
from vovnet.evaluation.columns import (
    CURVE_COLUMNS,
    HULL_COLUMNS,
    MIXING_HULL,
    SAMPLE_RESULT_COLUMNS,
    read_results,
)
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.evaluation.questions import load_questions
from vovnet.report import inputs as report_inputs

UNITS = ("tokens", "flops")


@pytest.fixture
def world(evaluated: World) -> World:
    return evaluated


def test_hull_files_are_what_the_report_reads(world: World) -> None:
    settings, layout = world
    metrics = hull_table(layout, "hull_metrics")
    curves = hull_table(layout, "curves")
    assert tuple(metrics) == HULL_COLUMNS and tuple(curves) == CURVE_COLUMNS
    keys = ["dataset", "experiment", "seed"]
    assert len(metrics) == 2 * 2 * len(settings.experiments) == len(metrics[keys].drop_duplicates())
    loaded = report_inputs.load_inputs(settings, layout)
    assert len(loaded.hull) == len(metrics)
    hull = loaded.curves[loaded.curves["experiment"] == MIXING_HULL]
    assert len(hull) == 2 * 2 * 3
    manifest = read_json(layout.hull / "manifest.json")
    assert set(manifest["inputs"]) == set(settings.experiments)


def test_curves_hold_the_points_of_the_results(world: World) -> None:
    """A frontier of 200 points passes close by those of its sweep."""
    settings, layout = world
    for name in settings.experiments:
        results = read_results(layout.eval(name) / "results.csv")
        for (dataset, seed), rows in results.groupby(["dataset", "seed"]):
            points = curve_rows(layout, name, dataset, seed)
            if name in ("vovnet", "entropy", "random", "bayes"):
                assert points["scalar"].is_monotonic_increasing and len(points) <= MOST_POINTS
                gaps = np.abs(
                    np.subtract.outer(*(t["avg_cost"].to_numpy() for t in (rows, points)))
                )
                near = points.iloc[gaps.argmin(axis=1)]
                assert near["avg_cost"].tolist() == pytest.approx(rows["avg_cost"], abs=0.15)
                assert near["accuracy"].tolist() == pytest.approx(rows["accuracy"], abs=0.02)
                continue
            assert points["scalar"].isna().all()
            for key in ("avg_cost", "accuracy", "accuracy_lo", "accuracy_hi"):
                assert points[key].tolist() == pytest.approx(rows[key].tolist(), abs=1e-12)


def test_flops_are_counted_beside_the_tokens(world: World) -> None:
    """In this world an answer takes 24,000 FLOPs and 2,000 for each vision token, however decided.

    So what lies between not looking and FULL is divided alike, and nothing may change.
    """
    settings, layout = world
    tokens, flops = (hull_table(layout, "hull_metrics", unit) for unit in ("tokens", "flops"))
    own = ["unit", "cost_save", "rank_score"]  # which are about all that is spent
    pd.testing.assert_frame_equal(tokens.drop(columns=own), flops.drop(columns=own))
    for name in settings.experiments:
        costs = [curve_rows(layout, name, "even", 0, unit)["avg_cost"] for unit in UNITS]
        assert costs[1].tolist() == pytest.approx((24_000 + 2000 * costs[0]).tolist())
        results = read_results(layout.eval(name) / "results.csv")
        expected = 24_000 + 2000 * results["avg_vision_tokens"]
        assert results["avg_flops"].tolist() == pytest.approx(expected.tolist())


def test_gains_by_hand(world: World) -> None:
    """Gains and areas of a sweep, computed once more with numpy's interpolation."""
    _, layout = world
    grid = np.linspace(0, 16, 160_001)
    for name in ("vovnet", "entropy", "random", "bayes", "oracle"):
        for _, row in hull_rows(layout, name).iterrows():
            drawn = {
                other: curve_rows(layout, other, row["dataset"], row["seed"])
                for other in ("mixing_hull", "no_vision", "always_full", "oracle", "bayes", name)
            }
            no, full = (float(drawn[other]["accuracy"].iloc[0]) for other in FIXED[::2])
            hull = drawn["mixing_hull"]
            floor = np.interp(grid, hull["avg_cost"], hull["accuracy"])

            def curve(rows: pd.DataFrame, no: float = no, full: float = full) -> np.ndarray:
                best = rows.groupby("avg_cost")["accuracy"].max()
                if best.index[-1] < 16:
                    best.loc[16] = max(full, best.iloc[-1])
                return np.interp(grid, [0, *best.index], [no, *best])

            own = curve(drawn[name])
            for share in (25, 50, 75):
                at = round(share / 100 * 160_000)
                assert row[f"gain_at_{share}"] == pytest.approx(100 * (own[at] - floor[at]))
                assert row[f"gain_at_{share}_lo"] < row[f"gain_at_{share}_hi"]
            best = perfect_choice(layout, row["dataset"], row["seed"])
            tops = {"bayes": curve(drawn["bayes"]), "oracle": np.interp(grid, *best)}
            for key, reached in tops.items():
                top = (reached - floor).mean()
                expected = (own - floor).mean() / top
                assert row[f"hull_to_{key}_captured"] == pytest.approx(expected, abs=1e-4)
            steps = own[np.arange(1, 11) * 16_000]
            assert row["apgr"] == pytest.approx((steps.mean() - no) / (full - no), abs=1e-9)
            if name == "bayes":
                assert row["hull_to_bayes_captured"] == pytest.approx(1)
            if name == "oracle":  # its point is the end of the curve of the perfect choice
                assert drawn[name][["avg_cost", "accuracy"]].to_numpy().tolist() == [
                    pytest.approx([ends[-1] for ends in best])
                ]
                assert 0 < row["hull_to_oracle_captured"] < 1


def perfect_choice(layout: Layout, dataset: str, seed: int) -> tuple[list[float], list[float]]:
    """Costs and accuracies of the best choice, by what it pays for a right answer at most.

    COARSE costs 4 tokens and FULL 16, so that an answer costs nothing, 4 or 16.
    """
    tables = [samples_of(layout, view) for view in FIXED]
    tables = [item[(item["dataset"] == dataset) & (item["seed"] == seed)] for item in tables]
    scores_NA, costs_NA = (
        np.stack([item[key] for item in tables], axis=1) for key in ("score", "cost")
    )
    costs, accuracies = [], []
    for price in (1, 5, 17):
        chosen_N1 = (scores_NA - costs_NA / price).argmax(axis=1)[:, None]
        costs.append(float(np.take_along_axis(costs_NA, chosen_N1, axis=1).mean()))
        accuracies.append(float(np.take_along_axis(scores_NA, chosen_N1, axis=1).mean()))
    return costs, accuracies


def test_nothing_captures_more_than_a_perfect_choice(world: World) -> None:
    _, layout = world
    captured = hull_table(layout, "hull_metrics")["hull_to_oracle_captured"].dropna()
    assert len(captured) == 2 * 2 * 6
    assert (captured <= 1).all()


def test_vovnet_gains_and_its_interval_is_paired(world: World) -> None:
    """Signals of this world tell the need well; unpaired, the interval would be far wider."""
    _, layout = world
    for _, row in hull_rows(layout, "vovnet", "even").iterrows():
        assert row["gain_at_50"] > 5
        assert 0 < row["gain_at_50_lo"] < row["gain_at_50"] < row["gain_at_50_hi"]
        accuracy = 0.75
        unpaired = 2 * 1.96 * np.sqrt(2 * accuracy * (1 - accuracy) / 600)
        assert row["gain_at_50_hi"] - row["gain_at_50_lo"] < 90 * unpaired


def test_random_matched_gains_nothing(world: World) -> None:
    """Where COARSE lies on the line from NO to FULL, every mixture lies on the hull.

    Where COARSE is worth more, mixing all three falls below the hull, and never above.
    """
    _, layout = world
    rows = hull_table(layout, "equal_cost")
    rows = rows[(rows["experiment"] == "random") & (rows["reference"] == "mixing_hull")]
    assert rows.loc[rows["at"] == "own", "verdict"].isna().all(), "its curve is judged instead"
    verdicts = rows[rows["at"] != "own"].groupby("dataset")["verdict"].apply(set)
    assert verdicts["even"] == {"undecided"}
    assert verdicts["graded"] <= {"undecided", "loses"} and "loses" in verdicts["graded"]
    for dataset in ("even", "graded"):
        for _, row in hull_rows(layout, "random", dataset).iterrows():
            for share in (25, 50, 75):
                assert row[f"gain_at_{share}"] < 2, (row["seed"], share)


def test_random_mixes_whole_questions(tmp_path: Path) -> None:
    """A circular group that drew pass by pass would be right only if every draw is."""
    half = {"baseline_name": "random_policy_matched"}
    buckets = {"baseline_bucket_ratios": [(0.5, 0, 0.5)] * 3}
    own = {
        "half": {"title": "1", "policy": half | {"baseline_target_ratios": (0.5, 0, 0.5)}},
        "buckets": {"title": "2", "policy": half | buckets},
    }
    settings, layout = write_world(
        tmp_path, {"even": EVEN}, [0], count=600, overrides={"experiments": own}, passes=4
    )
    evaluate_all(settings, layout)
    hull_metrics(settings, layout)
    found = hull_table(layout, "equal_cost")
    found = found[found["reference"] == MIXING_HULL].set_index(["experiment", "at"])
    for name in own:
        actions_UP = samples_of(layout, name)["action"].to_numpy().reshape(600, 4)
        assert (actions_UP == actions_UP[:, :1]).all()
        assert found.loc[(name, "own"), "verdict"] == "undecided"
    assert found.loc[("random", "50"), "verdict"] == "undecided"
    captured = hull_table(layout, "hull_metrics")["hull_to_oracle_captured"]
    assert captured.max() <= 1


def test_fixed_policies_and_single_points_have_no_curve(world: World) -> None:
    _, layout = world
    gains = [f"gain_at_{share}{end}" for share in (25, 50, 75) for end in ("", "_lo", "_hi")]
    curve = [*gains, "hull_to_oracle_captured", "hull_to_bayes_captured", "apgr"]
    for name in FIXED:
        rows = hull_rows(layout, name)
        assert rows[[*curve, "mcc"]].isna().all().all()
        assert (rows["aiq"] > 0).all()
    for name in ("oracle", "oracle_full_correct"):
        assert hull_rows(layout, name)[[*curve, "mcc", "aiq"]].notna().all().all()


def test_mcc_is_that_of_the_point_near_half_of_the_cost(world: World) -> None:
    _, layout = world
    for _, row in hull_rows(layout, "vovnet").iterrows():
        points = curve_rows(layout, "vovnet", row["dataset"], row["seed"])
        nearest = int((points["avg_cost"] - 8).abs().to_numpy().argmin())
        assert row["mcc_point"] == nearest
        folder = layout.observations("vovnet", row["seed"], row["dataset"])
        signals = pd.read_parquet(folder / "signals.parquet")
        told = [signals[[f"{key}_{view}" for view in ACTIONS]] for key in ("score", "tokens")]
        looked = choose_actions(*told, points["scalar"].iloc[nearest]) > 0
        scores = {}
        for view in FIXED:
            found = samples_of(layout, view)
            own = (found["dataset"] == row["dataset"]) & (found["seed"] == row["seed"])
            scores[view] = found[own]["score"].to_numpy()
        best = np.maximum(scores["always_coarse"], scores["always_full"])
        needed = best > scores["no_vision"]
        assert row["mcc"] == pytest.approx(np.corrcoef(looked, needed)[0, 1])


def test_without_a_router_its_share_is_empty(tmp_path: Path) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0])
    value = settings.model_dump()
    value["experiments"] = {"vovnet": value["experiments"]["vovnet"]}
    settings = validate(value, "test")
    evaluate_all(settings, layout)
    hull_metrics(settings, layout)
    (row,) = hull_rows(layout, "vovnet").to_dict("records")
    assert np.isnan(row["hull_to_bayes_captured"])
    assert 0 < row["hull_to_oracle_captured"] < 1


def test_another_unit_of_cost_is_refused(tmp_path: Path) -> None:
    policy = {"experiments": {"vovnet": {"policy": {"cost_scale": 2.0}}}}
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], overrides=policy)
    with pytest.raises(ConfigError, match=r"experiments\.vovnet\.policy\.cost_scale"):
        hull_metrics(settings, layout)


def test_results_of_other_samples_are_refused(tmp_path: Path) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0])
    evaluate_all(settings, layout)
    path = layout.eval("entropy") / "samples.parquet"
    table = samples_of(layout, "entropy")
    write_table(path, table[table["id"] != "q7"], SAMPLE_RESULT_COLUMNS)
    summary = read_json(path.with_name("summary.json"))
    for output in summary["outputs"].values():
        output["sha256"] = content_hash(path.with_name(Path(output["path"]).name))
    write_json(path.with_name("summary.json"), summary)
    with pytest.raises(DataError, match=r"samples\.parquet: .*evaluate 'entropy' again"):
        hull_metrics(settings, layout)


def test_an_experiments_samples_are_read_a_set_and_seed_at_a_time(
    evaluated: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, layout = evaluated
    counts: list[int] = []

    def counting(*arguments: Any) -> pd.DataFrame:
        table = read_table(*arguments)
        counts.append(len(table))
        return table

    monkeypatch.setattr(columns, "read_table", counting)
    results = columns.SampleResults(layout, "vovnet", ("score",))
    assert counts == []
    for dataset in ("graded", "even"):
        questions = load_questions(settings, layout, dataset)
        for point in range(2):
            assert len(results.rows(questions, 1, point)) == 600
    assert counts == [600 * len(settings.experiments["vovnet"].sweep["lambda_cost"])] * 2

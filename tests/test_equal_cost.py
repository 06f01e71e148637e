"""Gains at equal cost, against curves that are computed once more by hand."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.replays import (
    FIXED,
    GRADED,
    LAMBDAS,
    World,
    curve_rows,
    hull_table,
    write_reduced,
    write_world,
)
from support.reports import write_live
from vovnet.config import validate
from vovnet.core.files import write_json
from vovnet.core.layout import Layout
from vovnet.core.records import read_table, write_table
from vovnet.core.resampling import holm
from vovnet.evaluation.columns import EQUAL_COST_COLUMNS, Row, read_results
from vovnet.evaluation.equal_cost import judge, verdict
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.ground import Points
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.evaluation.live_columns import LIVE_COLUMNS
from vovnet.evaluation.references import Comparison
from vovnet.report.inputs import load_inputs
from vovnet.report.render import DASH
from vovnet.report.tables import against_vovnet, profiling

SEEDS = [0, 1, 2]
GAIN_IN_TIME = "Gain ↑ [points]"
SIDES = {"side-64": 0.25, "side-80": 0.4, "side-96": 0.5}
NAMES = ("vovnet", "no_vision", "always_coarse", "always_full", "resolution", "merged")
EXPERIMENTS = {
    "resolution": {
        "title": "Resolution",
        "policy": {"baseline_name": "resolution_scaling_proxy"},
        "sweep": {"baseline_long_side": [64, 80, 96]},
    },
    "merged": {
        "title": "Merged",
        "policy": {"baseline_name": "token_merge_prune_proxy", "baseline_merge_ratio": 0.5},
    },
}


def write_compared(root: Path) -> World:
    """A world with a resolution sweep and a single merged point; other experiments are left out."""
    change = {"experiments": EXPERIMENTS}
    settings, layout = write_world(root, {"graded": GRADED}, SEEDS, 200, change)
    kept = {name: settings.experiments[name] for name in NAMES}
    settings = settings.model_copy(update={"experiments": kept})
    for seed in SEEDS:
        merged = {"full+merge-cosine-0.5": 0.6}
        write_reduced(layout, seed, "graded", SIDES | merged, {"side-80": 0.0})
    for name in NAMES:
        evaluate_experiment(settings, layout, name)
    hull_metrics(settings, layout)
    return settings, layout


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_compared(tmp_path_factory.mktemp("equal_cost"))


def rows_of(layout: Layout, name: str, reference: str = "resolution") -> pd.DataFrame:
    rows = hull_table(layout, "equal_cost")
    return rows[(rows["experiment"] == name) & (rows["reference"] == reference)].set_index("at")


def results(layout: Layout, name: str, seed: int) -> pd.DataFrame:
    rows = read_results(layout.eval(name) / "results.csv")
    return rows[rows["seed"] == seed]


def reference(layout: Layout, seed: int, at: float) -> float:
    """The best mixture of two of NO, the sizes and FULL that costs `at` or less."""
    tables = [results(layout, name, seed) for name in ("no_vision", "resolution", "always_full")]
    points = [tuple(row) for table in tables for row in table[["avg_cost", "accuracy"]].to_numpy()]
    reached = [accuracy for cost, accuracy in points if cost <= at]
    for (low, first), (high, second) in product(points, points):
        if low <= at < high:
            reached.append(first + (second - first) * (at - low) / (high - low))
    return float(max(reached))


def by_hand(layout: Layout, name: str, seed: int, at: float) -> float:
    """Accuracy at a cost of NO, all operating points and FULL, linear in between."""
    points = curve_rows(layout, name, "graded", seed).sort_values("avg_cost")
    no, full = (results(layout, end, seed)["accuracy"].item() for end in NAMES[1:4:2])
    best = points.groupby("avg_cost")["accuracy"].max()
    ends = [] if best.index[-1] == 16 else [max(full, best.iloc[-1])]
    return float(
        np.interp(at, [0, *best.index, 16][: 1 + len(best) + len(ends)], [no, *best, *ends])
    )


def test_a_sweep_is_compared_at_shares_of_the_cost_of_full(world: World) -> None:
    _, layout = world
    rows = rows_of(layout, "vovnet")
    assert tuple(hull_table(layout, "equal_cost")) == EQUAL_COST_COLUMNS
    points = rows.loc["own"].set_index("point")
    assert len(points) == len(LAMBDAS)
    for point, row in points.to_dict("index").items():
        own = [results(layout, "vovnet", s).iloc[int(point)] for s in SEEDS]
        gains = [o["accuracy"] - reference(layout, s, o["avg_cost"]) for s, o in enumerate(own)]
        assert row["gain"] == pytest.approx(100 * np.mean(gains))
    rows = rows.drop(index="own")
    assert rows.index.tolist() == ["25", "50", "75"]
    assert rows["avg_cost"].tolist() == [4, 8, 12]
    # The sweep's own images cost 4 to 8 tokens; beyond them it is mixed with FULL.
    assert rows["within_range"].tolist() == [True, True, False]
    for at, row in rows.iterrows():
        cost = 16 * int(str(at)) / 100
        gains = [
            100 * (by_hand(layout, "vovnet", s, cost) - reference(layout, s, cost)) for s in SEEDS
        ]
        assert row["gain"] == pytest.approx(np.mean(gains), abs=1e-9)
        assert row["gain_sd"] == pytest.approx(np.std(gains, ddof=1), abs=1e-9)
        assert row["gain_lo"] < row["gain"] < row["gain_hi"]
        assert (row["p_value"] < 0.05) == (row["gain_lo"] > 0 or row["gain_hi"] < 0)
        assert row["verdict"] == verdict(row["gain"], row["p_holm"])
    assert rows.loc["50", "verdict"] == "beats", "half of FULL's answers are given up by the sweep"


def test_a_single_point_is_compared_at_its_own_cost(world: World) -> None:
    _, layout = world
    row = rows_of(layout, "merged").loc["own"]
    cost = 10.0
    assert row["avg_cost"] == cost, "0.6 of 16 tokens, a whole number of each image"
    gains = [
        results(layout, "merged", s)["accuracy"].item() - reference(layout, s, cost) for s in SEEDS
    ]
    assert row["gain"] == pytest.approx(100 * np.mean(gains))
    assert not row["within_range"]


def test_the_ends_of_the_curve_are_no_better_than_it(world: World) -> None:
    _, layout = world
    for name in ("no_vision", "always_full"):
        row = rows_of(layout, name).loc["own"]
        found = (row["gain"], row["gain_lo"], row["gain_hi"], row["verdict"])
        assert found == (0, 0, 0, "undecided")
    assert rows_of(layout, "no_vision")["within_range"].tolist() == [False]


def test_a_size_that_is_read_badly_is_passed_over(world: World) -> None:
    """A line through the sizes in their order dips there; mixing the smaller with FULL does not."""
    _, layout = world
    sizes = results(layout, "resolution", 0)
    cost = sizes.loc[sizes["long_side"] == 80, "avg_cost"].item()
    for seed in SEEDS:
        assert by_hand(layout, "resolution", seed, cost) < reference(layout, seed, cost) - 0.1
        no, full = (reference(layout, seed, at) for at in (0, 16))
        assert reference(layout, seed, cost) >= no + (full - no) * cost / 16


def test_resolution_scaling_is_not_held_against_itself(world: World) -> None:
    _, layout = world
    assert rows_of(layout, "resolution").empty
    places = rows_of(layout, "resolution", "mixing_hull").index.tolist()
    assert places == ["25", "50", "75", *["own"] * len(SIDES)]


def test_gains_over_mixing_are_those_of_the_hull_metrics(world: World) -> None:
    _, layout = world
    metrics = hull_table(layout, "hull_metrics").groupby("experiment").mean(numeric_only=True)
    rows = rows_of(layout, "vovnet", "mixing_hull")
    for at in ("25", "50", "75"):
        assert rows.loc[at, "gain"] == pytest.approx(metrics.loc["vovnet", f"gain_at_{at}"])


def test_the_interval_resamples_the_questions_of_all_seeds_together(world: World) -> None:
    """Seeds whose models agree: the mean over them varies as much as one of them."""
    _, layout = world
    joint = rows_of(layout, "vovnet", "mixing_hull").loc["50"]
    single = hull_table(layout, "hull_metrics")
    single = single[single["experiment"] == "vovnet"]
    widths = single["gain_at_50_hi"] - single["gain_at_50_lo"]
    assert joint["gain_hi"] - joint["gain_lo"] > 0.75 * widths.mean(), "seeds are not independent"


def test_live_runs_are_compared_in_measured_time(tmp_path: Path) -> None:
    """A millisecond for each vision token: what is gained in time is what is gained in tokens.

    A cascade that always ends at FULL, and takes longer, is no fixed policy.
    """
    live = {"mode": "live", "seeds": [0, 1], "max_samples": 60}
    stanzas: dict[str, Any] = {
        f"live_{name}": {"title": name, "policy": {"baseline_name": name}} | live for name in FIXED
    }
    stanzas["live_vovnet"] = {"title": "VoVNet", "role": "vovnet"} | live
    twice = {"views": ["no", "full"], "confidence": "entropy", "threshold": -1}
    stanzas["twice"] = {
        "title": "Twice",
        "policy": {"baseline_name": "cascade", "options": twice},
    } | live
    stanzas["half"] = stanzas["live_vovnet"] | {"mode": "replay"}
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0, 1], 60)
    value = settings.model_dump() | {"experiments": stanzas}
    settings = validate(value, "test")
    facts = {"cache_reuse": True, "alone": True}
    for name, item in settings.experiments.items():
        if item.mode == "replay":
            evaluate_experiment(settings, layout, name)
        else:
            write_live(settings, layout, name)
            write_json(layout.live_facts(name), facts)
    slow = read_table(layout.live_table("twice"), LIVE_COLUMNS)
    slow["text_pass_ms"] += 20
    write_table(layout.live_table("twice"), slow, LIVE_COLUMNS)
    hull_metrics(settings, layout)
    timed = hull_table(layout, "equal_cost", "ms").set_index("experiment")
    against, timed = (timed[timed["reference"] == kind] for kind in ("vovnet", "mixing_hull"))
    # What is mixed with VoVNet's run is not compared with the mixture.
    assert against.index.tolist() == ["twice"]
    assert against.loc["twice", "gain"] <= 0 and against.loc["twice", "num_seeds"] == 2
    assert (against["reference_experiment"] == "live_vovnet").all()
    shown = against_vovnet.table(load_inputs(settings, layout))
    assert "Twice (live)" in shown.text["", "Method"].tolist() and "Live rows" in shown.caption
    replayed = rows_of(layout, "half", "mixing_hull").loc["own"]
    assert set(timed.index) == {*(f"live_{name}" for name in FIXED), "live_vovnet", "twice"}
    row = timed.loc["live_vovnet"]
    assert row["avg_cost"] == pytest.approx(9.5 + replayed["avg_cost"])
    assert row["gain"] == pytest.approx(replayed["gain"]) and row["gain"] > 2
    fixed = timed.loc[["live_no_vision", "live_always_full", "twice"]]
    assert fixed["gain"].tolist() == [0, 0, 0]
    assert fixed["avg_cost"].tolist() == pytest.approx([9.5, 25.5, 45.5])
    assert fixed["within_range"].tolist() == [True, True, False] and row["within_range"]
    shown = profiling.table(load_inputs(settings, layout))
    told = shown.numbers.set_index("experiment")
    assert told.loc["live_vovnet", "gain"] == pytest.approx(row["gain"])
    written = dict(zip(told.index, shown.columns["", GAIN_IN_TIME], strict=True))
    assert written["live_vovnet"].startswith(f"{row['gain']:.1f} [") and "own mean" in shown.caption
    # Slow in one of two seeds, VoVNet is no corner there, and nothing is told against it.
    slow = read_table(layout.live_table("live_vovnet"), LIVE_COLUMNS)
    slow.loc[slow["seed"] == 1, "text_pass_ms"] += 100
    write_table(layout.live_table("live_vovnet"), slow, LIVE_COLUMNS)
    hull_metrics(settings, layout)
    told = hull_table(layout, "equal_cost", "ms")
    assert set(told["reference"]) == {"mixing_hull"} and "live_vovnet" in set(told["experiment"])
    shown = against_vovnet.table(load_inputs(settings, layout))
    assert "Live rows" not in shown.caption and "By milliseconds" not in shown.text.columns
    # A run that had company counts for nothing, and without FULL there is no hull.
    write_json(layout.live_facts("live_always_full"), facts | {"alone": False})
    hull_metrics(settings, layout)
    assert hull_table(layout, "equal_cost", "ms").empty
    shown = profiling.table(load_inputs(settings, layout))
    assert ("", GAIN_IN_TIME) not in shown.columns and "own mean" not in shown.caption


@pytest.mark.parametrize(
    ("cost", "accuracy", "at_full"),
    [(8, 0.9, 0.9), (16, 0.9, 0.9), (24, 0.9, 0.8), (24, 0.6, 0.8), (8, 0.7, 0.8)],
)
def test_a_curve_reaches_at_the_cost_of_full_what_costs_no_more(
    world: World, cost: float, accuracy: float, at_full: float
) -> None:
    settings, layout = world
    ground = Comparison(settings, layout, ["vovnet"]).ground("vovnet", "graded", 0)
    fixed = Points(np.array([[0.0, 4, 16]]), np.array([[0.4, 0.6, 0.8]]))
    curve = replace(ground, fixed=fixed).curve(Points(np.array([[cost]]), np.array([[accuracy]])))
    assert curve.value(np.array([[16.0, cost]]))[0] == pytest.approx(
        [at_full, accuracy if cost != 16 else at_full]
    )


@pytest.mark.parametrize(
    ("gain", "p_value", "word"),
    [(2, 0.04, "beats"), (-2, 0.04, "loses"), (2, 0.06, "undecided"), (2, np.nan, "undecided")],
)
def test_verdicts(gain: float, p_value: float, word: str) -> None:
    assert verdict(gain, p_value) == word


def test_verdicts_are_corrected_for_the_methods_that_are_compared(world: World) -> None:
    """At one place of one set, with one reference: there are three curves and four points."""
    _, layout = world
    rows = hull_table(layout, "equal_cost")
    swept = (rows["at"] == "own") & rows["experiment"].isin(["vovnet", "resolution"])
    assert rows["verdict"].isna().tolist() == swept.tolist()
    by_definition = (rows["gain_lo"] == 0) & (rows["gain_hi"] == 0)
    assert by_definition.any(), "not looking and FULL are ends of the curve"
    families = list(rows[~swept].groupby(["reference", "dataset", "at"]))
    assert len(families) == 3 * 4 and max(len(family) for _, family in families) == 4
    for _, family in families:
        expected = holm(family["p_value"].mask(by_definition[family.index]))
        assert family["p_holm"].tolist() == pytest.approx(expected, nan_ok=True)


def test_differences_to_vovnet_are_those_of_the_gains(world: World) -> None:
    """Of a curve at the same places, of a single point at its own cost; VoVNet has none."""
    _, layout = world
    assert rows_of(layout, "vovnet", "vovnet").empty
    found, own = rows_of(layout, "resolution", "vovnet"), rows_of(layout, "vovnet", "mixing_hull")
    gains = rows_of(layout, "resolution", "mixing_hull")
    for at in ("25", "50", "75"):
        expected = gains.loc[at, "gain"] - own.loc[at, "gain"]
        assert found.loc[at, "gain"] == pytest.approx(expected)
        assert found.loc[at, "verdict"] == "loses"
    curve = hull_table(layout, "curves")
    differences = []
    for seed in SEEDS:
        drawn = curve[(curve["experiment"] == "vovnet") & (curve["seed"] == seed)]
        best = drawn.groupby("avg_cost")["accuracy"].max()
        merged = results(layout, "merged", seed)["accuracy"].item()
        differences.append(100 * (merged - np.interp(10, best.index, best)))
    row = rows_of(layout, "merged", "vovnet").loc["own"]
    assert row["gain"] == pytest.approx(np.mean(differences))


def test_among_many_a_chance_hit_is_undecided() -> None:
    """Twenty comparisons: only what stands out of twenty is told as a verdict."""
    facts = {"reference": "mixing_hull", "unit": "tokens", "dataset": "a", "at": "50"}
    facts |= {"gain": 1.0, "gain_lo": 0.5, "gain_hi": 1.5}
    p_values = [0.03, 0.001, *([0.5] * 18)]
    rows: list[Row] = [facts | {"p_value": value} for value in p_values]
    rows.append(facts | {"reference": "resolution", "gain": -1.0, "p_value": 0.03})
    judge(rows)
    words = [row["verdict"] for row in rows]
    assert words == ["undecided", "beats", *(["undecided"] * 18), "loses"]


def test_a_run_without_a_sweep_is_compared_with_that_of_vovnet(tmp_path: Path) -> None:
    other = {"title": "Other", "run": "other", "role": "vovnet", "sweep": {"lambda_cost": LAMBDAS}}
    unsure = {"baseline_name": "uncertainty_threshold", "baseline_threshold": 0.6}
    untouched = {"title": "Untouched", "run": "other", "seeds": [0], "policy": unsure}
    change = {
        "runs": {"vovnet": {}, "other": {"policy": {"entropy_weight": 2}}},
        "experiments": EXPERIMENTS | {"other": other, "untouched": untouched},
    }
    settings, layout = write_world(tmp_path, {"graded": GRADED}, SEEDS, 100, change)
    names = ("vovnet", "resolution", "other", "untouched")
    kept = {name: settings.experiments[name] for name in names}
    settings = settings.model_copy(update={"experiments": kept})
    for seed in SEEDS:
        write_reduced(layout, seed, "graded", SIDES)
        source = layout.observations("vovnet", seed, "graded")
        shutil.copytree(source, layout.observations("other", seed, "graded"))
    for name in names:
        evaluate_experiment(settings, layout, name)
    hull_metrics(settings, layout)
    own, foreign = rows_of(layout, "vovnet"), rows_of(layout, "other")
    assert set(foreign["run"]) == {"other"} and set(foreign["reference_run"]) == {"vovnet"}
    assert foreign["gain"].tolist() == pytest.approx(own["gain"].tolist())
    # One seed beside three: the interval is over questions only, and no verdict is passed on it.
    for kind, judged in (("mixing_hull", True), ("resolution", False), ("vovnet", False)):
        row = rows_of(layout, "untouched", kind).loc["own"]
        assert row["num_seeds"] == 1 and np.isfinite(row[["gain", "p_value"]].astype(float)).all()
        assert pd.notna(row["verdict"]) == judged == pd.notna(row["p_holm"])
    table = against_vovnet.table(load_inputs(settings, layout)).text
    shown = table[table["", "Method"] == "Untouched"]
    assert shown["By vision tokens", "Verdict"].tolist() == [DASH]
    assert shown["", "Seeds"].tolist() == ["1"]

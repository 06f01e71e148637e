"""What a deployed policy saves: chosen on one half of the questions, measured on the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.replays import GRADED, World, evaluate_all, write_world
from support.reports import write_live
from vovnet.config import validate
from vovnet.core.files import write_json
from vovnet.core.records import read_table, write_table
from vovnet.core.resampling import Resamples
from vovnet.evaluation.deployable import (
    AT_MOST,
    DIVISIONS,
    RULES,
    deploy,
    deployable_rows,
    halves,
)
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.evaluation.live_columns import LIVE_COLUMNS
from vovnet.evaluation.references import Comparison
from vovnet.report.inputs import load_inputs
from vovnet.report.tables import deployable as deployable_table


def points(accuracies: list[float], tokens: list[float], count: int, seed: int = 0) -> Any:
    """Points that answer their share of questions, each the questions of a worse one too."""
    order_N = np.random.default_rng(seed).permutation(count)
    scores_NP = (order_N[:, None] < np.array(accuracies) * count).astype(float)
    tokens_NP = np.tile(tokens, (count, 1))
    return scores_NP, {"tokens": tokens_NP, "flops": tokens_NP * 10.0}


def chosen(accuracies: list[float], tokens: list[float], rule: str, count: int = 1000) -> Any:
    told = points(accuracies, tokens, count)
    return deploy(*told, np.arange(count), np.arange(count), 7)[rule]


def test_halves_are_halves_of_whole_clusters() -> None:
    first_DC = halves(11, 3)
    assert first_DC.shape == (DIVISIONS, 11) and (first_DC.sum(axis=1) == 6).all()
    assert (halves(11, 3) == first_DC).all() and (halves(11, 4) != first_DC).any()
    # Two questions of one image are on one side: what is chosen on it is not measured on it.
    told = points([0.0, 1.0], [0, 16], 4)
    units_N = np.arange(4)
    found = deploy(*told, units_N, np.array([0, 0, 1, 1]), 0)["mean"]
    assert set(found.difference.tolist()) <= {0.0, -1.0}


def test_accuracies_are_exact_beside_the_flops_of_a_large_model() -> None:
    """Sums of FLOPs pass 2^53, beyond which a float cannot count questions."""
    rng, rows_N = np.random.default_rng(0), np.arange(3000)
    looks_NP = rng.integers(0, 200, 3000)[:, None] <= np.arange(200)
    scores_NP = (looks_NP | (rng.random(3000) < 0.5)[:, None]).astype(float)
    found = [
        deploy(scores_NP, {"tokens": 16.0 * looks_NP, "flops": flops * looks_NP}, rows_N, rows_N, 7)
        for flops in (1.0, 1.04e13 + 1)
    ]
    for rule in RULES:
        assert (found[0][rule].points == found[1][rule].points).all()
        assert (found[0][rule].difference == found[1][rule].difference).all()


def test_the_cheapest_point_that_keeps_the_promise_is_chosen() -> None:
    """A point 10 points below FULL is never chosen, one as good as FULL always is."""
    found = chosen([0.2, 0.8, 0.9, 0.9], [0, 4, 8, 16], "mean")
    assert set(found.points.tolist()) == {2}
    assert found.difference == pytest.approx(0) and found.saved["tokens"] == pytest.approx(0.5)
    assert found.saved["flops"] == pytest.approx(0.5) and found.saved["looks"] == pytest.approx(0)
    nothing = chosen([0.2, 0.9], [0, 16], "mean")
    assert set(nothing.points.tolist()) == {1} and (nothing.saved["tokens"] == 0).all()
    # What saves no token, but reads the question, is no better than FULL.
    scores_NP, taken = points([0.9, 0.9], [16, 16], 100)
    taken["flops"][:, 0] += 1
    useless = deploy(scores_NP, taken, np.arange(100), np.arange(100), 7)["mean"]
    assert set(useless.points.tolist()) == {1}
    all_of_it = chosen([0.9, 0.9], [0, 16], "sure").saved
    assert (all_of_it["tokens"] == 1).all() and (all_of_it["looks"] == 1).all()


def test_a_point_on_the_border_is_a_coin_toss_and_is_not_sure() -> None:
    """Exactly a point below FULL: what one half hides, the other shows."""
    accuracies, tokens = [0.9 - AT_MOST, 0.9], [4.0, 16.0]
    bold, careful = (chosen(accuracies, tokens, rule) for rule in ("mean", "sure"))
    taken = bold.points == 0
    assert 0.3 < taken.mean() < 0.7
    assert (bold.difference[taken] <= -AT_MOST + 1e-9).all(), "the halves add up"
    assert (careful.points == 0).mean() < 0.08, "one-sided 95%"


def test_nobody_is_sure_of_a_half_of_one_cluster() -> None:
    """It does not tell how much clusters differ."""
    told = points([0.9, 0.9], [4, 16], 100)
    for count, saved in ((2, 0.0), (100, 0.75)):
        found = deploy(*told, np.arange(100), np.arange(100) % count, 0)
        assert found["mean"].saved["tokens"] == pytest.approx(0.75)
        assert found["sure"].saved["tokens"] == pytest.approx(saved)


def test_nothing_is_saved_of_nothing() -> None:
    """A set without images: FULL looks at nothing, but reading the question counts as FLOPs."""
    scores_NP, taken = points([0.9, 0.9], [0, 0], 100)
    taken["flops"] = np.tile([4.0, 16.0], (100, 1))
    found = deploy(scores_NP, taken, np.arange(100), np.arange(100), 0)["mean"]
    assert np.isnan(found.saved["tokens"]).all() and np.isnan(found.saved["looks"]).all()
    assert found.saved["flops"] == pytest.approx(0.75) and (found.difference == 0).all()


def test_a_set_of_one_cluster_has_no_halves(evaluated: World) -> None:
    """Its second half would be empty, and nothing in it would keep or break a promise."""
    comparison = Comparison(*evaluated, ["vovnet"])
    asked, _ = comparison.asked("vovnet", "graded")
    for clusters, rows in ((1, 0), (2, 2)):
        drawn = Resamples.draw(np.arange(600) % clusters, 2, 0)
        comparison.questions[None] = (asked, drawn)
        assert len(deployable_rows(comparison, "vovnet", "graded")) == rows


def test_the_files_tell_what_each_policy_saves(tmp_path: Any) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0, 1], 200)
    names = ("vovnet", "entropy", "no_vision", "always_full", "always_coarse", "bayes")
    value = settings.model_dump()
    value["experiments"] = {name: value["experiments"][name] for name in names}
    settings = validate(value, "test")
    evaluate_all(settings, layout)
    hull_metrics(settings, layout)
    inputs = load_inputs(settings, layout)
    rows = inputs.deployable.set_index(["experiment", "rule"])
    assert set(rows.index) == {
        (n, r) for n in ("vovnet", "entropy", "bayes") for r in ("mean", "sure")
    }
    bold, careful = (rows.loc[("vovnet", rule)] for rule in ("mean", "sure"))
    assert bold["tokens_saved"] > careful["tokens_saved"] > 0.1
    assert bold["broken"] > careful["broken"] and bold["difference"] < careful["difference"]
    assert bold["tokens_saved_lo"] <= bold["tokens_saved"] <= bold["tokens_saved_hi"]
    table = deployable_table.table(inputs)
    assert len(table.text) == len(rows) and "nan" not in table.text.to_string()


def test_live_runs_tell_the_time_that_is_saved(tmp_path: Any) -> None:
    """A live run chooses among the points that it timed; without FULL's time there is no row.

    A question takes 9.5 ms and a millisecond more for each vision token, of which FULL has 16.
    """
    live = {"mode": "live", "max_samples": 150}
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0, 1], 200)
    stanzas = settings.model_dump()["experiments"]
    stanzas = {name: stanzas[name] | live for name in ("vovnet", "no_vision", "always_full")}
    stanzas["twice"] = stanzas["no_vision"] | {
        "policy": {
            "baseline_name": "cascade",
            "options": {"views": ["no", "full"], "confidence": "entropy", "threshold": -1},
        }
    }
    stanzas["replayed"] = stanzas["vovnet"] | {"mode": "replay"}
    settings = validate(settings.model_dump() | {"experiments": stanzas}, "test")
    for name, item in settings.experiments.items():
        if item.mode == "replay":
            evaluate_all(settings.model_copy(update={"experiments": {name: item}}), layout)
        else:
            write_live(settings, layout, name)
            write_json(layout.live_facts(name), {"cache_reuse": True, "alone": True})
    slow = read_table(layout.live_table("twice"), LIVE_COLUMNS)
    slow["text_pass_ms"] += 25.5
    write_table(layout.live_table("twice"), slow, LIVE_COLUMNS)
    hull_metrics(settings, layout)
    rows = load_inputs(settings, layout).deployable
    assert rows.set_index(["experiment", "mode"]).index.unique().tolist() == [
        ("twice", "live"),
        ("vovnet", "live"),
        ("replayed", "replay"),
    ]
    timed = rows[rows["experiment"] == "vovnet"].set_index("rule")
    assert timed.loc["mean", "tokens_saved"] > 0.1 and (timed["num_questions"] == 150).all()
    saved_ms = timed["tokens_saved"] * 16 / 25.5
    assert timed["ms_saved"].tolist() == pytest.approx(saved_ms.tolist())
    twice = rows[rows["experiment"] == "twice"]
    assert (twice["tokens_saved"] == 0).all() and twice["ms_saved"].tolist() == [-1, -1]
    assert rows.loc[rows["mode"] == "replay", "ms_saved"].isna().all()
    shown = deployable_table.table(load_inputs(settings, layout))
    assert "VoVNet, live, 150 questions" in shown.text["Method"].tolist()
    assert "Time saved ↑ [%]" in shown.text and "timed" in shown.caption
    write_json(layout.live_facts("always_full"), {"cache_reuse": True, "alone": False})
    hull_metrics(settings, layout)
    shown = deployable_table.table(load_inputs(settings, layout))
    assert set(shown.numbers["mode"]) == {"replay"} and "Time saved ↑ [%]" not in shown.text

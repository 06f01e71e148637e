"""Sets on which nothing can be compared: each number is right, or its cell is empty."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support import replays
from support.replays import GRADED, World, evaluate_all, hull_rows, write_world
from vovnet.config import merge, validate
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.report.tables import write_tables

HEADS = ("probe", "bag_of_words", "nearest_neighbours")
KEPT = ("vovnet", "no_vision", "always_coarse", "always_full", "oracle", "entropy", "bayes", *HEADS)


def reported(root: Path, count: int = 24) -> World:
    """Hull metrics and tables of a small suite, made without any warning of numpy's."""
    endless = {"sweep": {"lambda_cost": [0.0, 0.02, float("inf")]}}
    heads = {name: {"title": name, "policy": {"baseline_name": name}} | endless for name in HEADS}
    settings, layout = write_world(root, {"graded": GRADED}, [0], count)
    value = merge(settings.model_dump(), {"eval": {"bootstrap_samples": 50}, "experiments": heads})
    value["experiments"] = {name: value["experiments"][name] for name in KEPT}
    settings = validate(value, "test")
    with warnings.catch_warnings(action="error"):
        evaluate_all(settings, layout)
        hull_metrics(settings, layout)
        write_tables(settings, layout)
    for path in [*layout.paper.glob("*.md")]:
        assert not re.search(r"\| *(nan|inf|None)\b", path.read_text()), path
    return settings, layout


def emptied(rows: pd.DataFrame, *names: str) -> bool:
    return bool(rows[[*names]].isna().all(axis=None))


@pytest.mark.parametrize("right", [True, False])
def test_answers_that_are_all_right_or_all_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    """Also those that heads are fitted on. Not looking is as good as anything, and costs least."""
    told = replays.texts_of
    monkeypatch.setattr(replays, "texts_of", lambda on, able: told(on, np.full_like(able, right)))
    _, layout = reported(tmp_path)
    rows = pd.read_csv(layout.hull / "hull_metrics.csv")
    curves = rows[rows["gain_at_50"].notna()]
    assert {"vovnet", "bayes", "entropy", *HEADS} <= set(curves["experiment"])
    ends = [f"gain_at_50{end}" for end in ("", "_lo", "_hi")]
    assert (curves[ends] == 0).all(axis=None)
    assert emptied(rows, "hull_to_oracle_captured", "hull_to_bayes_captured", "apgr", "mcc")
    assert (rows["aiq"] == float(right)).all()
    assert (rows["perf_gain"] == 0).all() if right else rows["perf_gain"].isna().all()
    assert emptied(pd.read_csv(layout.hull / "captured.csv"), "captured", "captured_lo")
    saved = pd.read_csv(layout.hull / "deployable.csv").set_index(["experiment", "rule"])
    for name in ("bayes", "bag_of_words"):
        assert saved.loc[(name, "sure"), ["tokens_saved", "broken"]].tolist() == [1, 0]
    judged = pd.read_csv(layout.hull / "equal_cost.csv", keep_default_na=False)
    assert set(judged["verdict"]) <= {"", "undecided"}
    strata = pd.read_csv(layout.hull / "strata.csv", keep_default_na=False)
    assert set(strata.loc[strata["share"] == 1, "stratum"]) == {"no" if right else "none"}


def test_one_question(tmp_path: Path) -> None:
    """It has no interval and no halves, and on one question a head is fitted all the same."""
    _, layout = reported(tmp_path, count=1)
    rows = hull_rows(layout, "vovnet")
    assert (rows["gain_at_50"] == 0).all() and emptied(rows, "gain_at_50_lo", "gain_at_50_hi")
    equal = pd.read_csv(layout.hull / "equal_cost.csv", keep_default_na=False)
    assert set(equal["verdict"]) <= {"", "undecided"} and set(equal["p_value"]) == {""}
    for name in ("deployable", "strata"):
        assert pd.read_csv(layout.hull / f"{name}.csv").empty


def test_a_set_on_which_looking_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without images there is nothing to save, by tokens; always FULL is had for nothing."""
    monkeypatch.setattr(replays, "TOKENS", np.zeros(3, dtype=int))
    _, layout = reported(tmp_path)
    rows: Any = hull_rows(layout, "vovnet")
    assert (rows["gain_at_50"] == 0).all() and emptied(rows, "aiq", "apgr", "rank_score")
    saved = pd.read_csv(layout.hull / "deployable.csv")
    assert emptied(saved, "tokens_saved", "tokens_saved_lo", "looks_saved")
    assert (saved["flops_saved"] <= 0).all() and (saved["difference"] == 0).all()

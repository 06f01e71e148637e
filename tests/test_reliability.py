"""The reliability report over the generated world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from support.replays import EVEN, GRADED, LAMBDAS, World, write_world
from vovnet import cli
from vovnet.config import Settings, merge, validate
from vovnet.core.errors import ConfigError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.evaluation.columns import read_columns, result_columns
from vovnet.evaluation.error_slices import write_error_slices
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.pipeline.keys import step_settings
from vovnet.report.inputs import of
from vovnet.report.reliability import Errors, fallback, reliability, write_reliability
from vovnet.report.render import DASH

STEMS = ("action_errors", "error_slices", "calibration_error", "fallback", "head_calibration")
FALLBACK = {
    "title": "Falls back",
    "role": "vovnet",
    "policy": {"fallback_mode": "coarse", "fallback_entropy_threshold": 0.6},
    "sweep": {"lambda_cost": LAMBDAS},
}


DOUBT = {
    "title": "No vision, falls back",
    "policy": {"baseline_name": "no_vision", "fallback_mode": "full"},
    "sweep": {"fallback_entropy_threshold": [0.6, 0.9]},
    "error_slices": True,
}
"""It follows no lambda, so that each of its points is a row of its own."""

PROBE = {
    "title": "Probe",
    "policy": {"baseline_name": "probe"},
    "sweep": {"lambda_cost": [0.0, 0.01]},
}


def write_all(root: Path) -> World:
    """Two sets whose order is not the alphabet's, and whose names may be taken for other things."""
    stanzas = {"vovnet": {"error_slices": True}, "fallback": FALLBACK, "probe": PROBE}
    stanzas["doubt"] = DOUBT
    change = {"experiments": stanzas}
    sets = {"NA": GRADED, "007": EVEN}
    settings, layout = write_world(root, sets, [0, 1, 2], 400, change)
    for name in stanzas:
        evaluate_experiment(settings, layout, name)
    for name in ("vovnet", "doubt"):
        write_error_slices(settings, layout, name)
    return settings, layout


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    settings, layout = write_all(tmp_path_factory.mktemp("reliability"))
    write_reliability(settings, layout)
    return settings, layout


def table(layout: Layout, name: str) -> pd.DataFrame:
    return read_columns(layout.paper / f"{name}.csv", ())


def test_every_table_and_the_figure(world: World) -> None:
    _, layout = world
    names = {path.name for path in layout.paper.iterdir()}
    for stem in STEMS:
        assert {f"{stem}{end}" for end in (".csv", ".md", ".tex")} <= names
    assert {"reliability.png", "reliability.pdf", "reliability.manifest.json"} <= names
    assert {"head_reliability.png", "head_reliability.pdf"} <= names


def test_what_heads_expect_is_held_against_outcomes(world: World) -> None:
    """The same at every lambda, so that the head stands there once for each set and action."""
    settings, layout = world
    rows = table(layout, "head_calibration")
    assert rows["dataset"].tolist() == ["NA"] * 3 + ["007"] * 3
    assert rows["action"].tolist() == settings.actions * 2
    assert (rows["num_seeds"] == 3).all() and (rows["num_samples"] == 400).all()
    told = read_json(layout.eval("probe") / "summary.json")["calibration"]
    for _, row in rows.iterrows():
        same = [
            item
            for item in told
            if (item["dataset"], item["action"]) == (row["dataset"], row["action"])
        ]
        assert [item["seed"] for item in same] == [0, 1, 2]
        for name in ("brier", "log_loss", "ece"):
            assert row[f"{name}_mean"] == pytest.approx(np.mean([item[name] for item in same]))
    looks = rows["action"] != "full"  # which answers nearly everything
    assert (rows["brier_mean"] < 0.7 * rows["brier_of_mean_mean"])[looks].all()
    assert (rows["ece_mean"] < 0.12).all()


def test_actions_are_means_over_seeds_at_the_target(world: World) -> None:
    _, layout = world
    slices = read_columns(layout.eval("vovnet") / "error_slices.csv", ())
    slices = slices[(slices["lambda_cost"] == 0.02) & (slices["field"] == "action")]
    rows = of(table(layout, "action_errors"), experiment="vovnet")
    assert len(rows) == 6
    for _, row in rows.iterrows():
        found = slices[(slices["dataset"] == row["dataset"]) & (slices["value"] == row["value"])]
        assert row["num_seeds"] == len(found) == 3
        assert row["accuracy_mean"] == pytest.approx(found["accuracy"].mean())
        assert row["accuracy_sd"] == pytest.approx(found["accuracy"].std(ddof=1))
        assert row["accuracy_lo"] == pytest.approx(found["accuracy_lo"].mean())
        assert pd.isna(row["false_skip_rate"]) == (row["value"] != "no")
    text = (layout.paper / "action_errors.md").read_text()
    assert "FULL" in text and "nan" not in text


def test_fallback_moves_no_to_its_view(world: World) -> None:
    _, layout = world
    rows = of(table(layout, "fallback"), experiment="fallback")
    assert len(rows) == 2 and (rows["fallback_trigger_rate_mean"] > 0).all()
    rate = rows["fallback_trigger_rate_mean"]
    assert (rows["before_no"] - rows["action_rate_no"]).tolist() == pytest.approx(rate.tolist())
    moved = rows["action_rate_coarse"] - rows["before_coarse"]
    assert moved.tolist() == pytest.approx(rate.tolist())
    assert rows["before_full"].tolist() == pytest.approx(rows["action_rate_full"].tolist())
    before = rows[[f"before_{action}" for action in ("no", "coarse", "full")]]
    assert before.sum(axis=1).tolist() == pytest.approx([1, 1])


def test_a_row_is_one_point_of_a_sweep(world: World) -> None:
    """Over thresholds a mean and its deviation would be told as those of seeds."""
    _, layout = world
    results = read_columns(layout.eval("doubt") / "results.csv", ())
    rows = of(table(layout, "fallback"), experiment="doubt")
    assert rows["point"].tolist() == [0, 1] * 2 and (rows["num_seeds"] == 3).all()
    by_point = results.assign(point=results.groupby(["dataset", "seed"]).cumcount())
    own = by_point.groupby(["dataset", "point"], sort=False)["avg_cost"]
    assert rows["avg_cost_mean"].tolist() == pytest.approx(own.mean().tolist())
    assert rows["avg_cost_sd"].tolist() == pytest.approx(own.std(ddof=1).tolist())
    told = (layout.paper / "fallback.md").read_text()
    assert "| fallback_entropy_threshold = 0.6 " in told and "| λ = 0.02 " in told
    errors = of(table(layout, "action_errors"), experiment="doubt")
    assert set(errors["point"]) == {0, 1}
    assert not errors.duplicated(["dataset", "point", "value"]).any()


def test_worst_slices_lie_below_the_whole(world: World) -> None:
    _, layout = world
    rows = of(table(layout, "error_slices"), experiment="vovnet")
    assert rows["dataset"].tolist() == ["NA", "007"]
    assert set(rows["field"]) == {"category"}  # the world's questions differ in nothing else
    assert (rows["gap"] < 0).all()


def test_equal_inputs_give_equal_bytes(world: World) -> None:
    settings, layout = world
    before = {path: path.read_bytes() for path in layout.paper.iterdir()}
    write_reliability(settings, layout)
    assert {path: path.read_bytes() for path in layout.paper.iterdir()} == before


def test_the_report_runs_from_its_own_settings(world: World) -> None:
    """The DAG hands it only the experiments that it is about."""
    settings, layout = world
    value = step_settings(settings, "reliability")
    assert set(value["experiments"]) == {"vovnet", "fallback", "probe", "doubt"}
    own = validate(value | {"results_dir": str(layout.root)}, "own")
    before = (layout.paper / "fallback.csv").read_bytes()
    write_reliability(own, layout)
    assert (layout.paper / "fallback.csv").read_bytes() == before


def test_without_slices_or_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, layout = write_all(tmp_path)
    without = validate(
        merge(
            settings.model_dump(),
            {"experiments": {name: {"error_slices": False} for name in ("vovnet", "doubt")}},
        ),
        "test",
    )
    with pytest.raises(ConfigError, match="error_slices: true"):
        write_reliability(without, layout)
    other = validate(merge(settings.model_dump(), {"report": {"target_lambda": 0.7}}), "test")
    with pytest.raises(ConfigError, match=r"target_lambda: 0\.7 is not a point of .* 'vovnet'"):
        write_reliability(other, layout)
    (layout.eval("vovnet") / "error_slices.csv").unlink()
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    assert cli.main(["reliability", "--config", str(config)]) == 2
    assert "`vovnet error_slices --experiment vovnet` writes it" in capsys.readouterr().err
    assert not layout.paper.exists()


def test_without_heads_their_table_and_figure_are_empty(tmp_path: Path) -> None:
    settings, layout = write_all(tmp_path)
    value = settings.model_dump()
    del value["experiments"]["probe"]
    write_reliability(validate(value, "test"), layout)
    assert table(layout, "head_calibration").empty
    assert (layout.paper / "head_reliability.pdf").exists()


def test_without_a_fallback_its_table_is_empty(tmp_path: Path) -> None:
    settings, layout = write_all(tmp_path)
    value = settings.model_dump()
    for name in ("fallback", "doubt"):
        del value["experiments"][name]
    write_reliability(validate(value, "test"), layout)
    assert table(layout, "fallback").empty
    # A suite of logs has views of other names, of which the first one stands for NO.
    logged = Settings(actions=["log-29", "log-576", "full"])
    nothing = pd.DataFrame(columns=[*result_columns(logged.actions), "point"])
    errors = Errors(logged, nothing, nothing, nothing, nothing, [])
    assert "before_log-29" in fallback.table(errors).numbers


def test_a_set_without_a_bin_has_an_empty_panel() -> None:
    """A few questions, on which FULL and NO never differ: nothing to tell apart."""
    bins = [{"predicted": 0.2, "measured": 0.3, "count": 4}]
    some = {"dataset": "some", "kind": "value", "auc": 0.9, "bins": bins}
    none = {"dataset": "none", "kind": "value", "auc": float("nan"), "bins": []}
    nothing = pd.DataFrame()
    predictions = pd.DataFrame([some, none]).assign(experiment="vovnet", point=0)
    figure = reliability.figure(Errors(Settings(), nothing, predictions, nothing, nothing, []))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[2:] == ["some\nAUC 0.900", f"none\nAUC {DASH}"]

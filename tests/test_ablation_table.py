"""The table of ablations over generated observations of three recipes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from support.replays import GRADED, LAMBDAS, World, hull_table, write_world
from vovnet import cli
from vovnet.config import merge, validate
from vovnet.config.experiments import ablation_experiments
from vovnet.core.errors import ConfigError
from vovnet.core.records import read_table, signal_columns, write_table
from vovnet.evaluation import ablations
from vovnet.evaluation.ablations import compare_ablations
from vovnet.evaluation.columns import read_results
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.evaluation.references import Comparison
from vovnet.pipeline.keys import step_settings
from vovnet.report.ablations import write_ablations
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

SEEDS = [0, 1, 2]
NAMES = ["vovnet", "ablation_same", "ablation_blind"]


def stanza(run: str) -> dict[str, object]:
    return {"title": run, "run": run, "role": "vovnet", "sweep": {"lambda_cost": LAMBDAS}}


def write_runs(root: Path, seeds: list[int]) -> World:
    """`same` repeats the default's observations; `blind` has a head that scores at random."""
    change = {
        "runs": {"vovnet": {}, "same": {"policy": {"entropy_weight": 2}}, "blind": {}},
        "experiments": {
            "ablation_same": stanza("same"),
            "ablation_blind": stanza("blind") | {"policy": {"action_space": "ternary"}},
            "again": stanza("vovnet"),
            "fallback": stanza("same")
            | {"policy": {"fallback_mode": "coarse", "fallback_entropy_threshold": 0.6}},
        },
    }
    settings, layout = write_world(root, {"graded": GRADED}, seeds, 300, change)
    rng = np.random.default_rng(5)
    for seed in seeds:
        source = layout.observations("vovnet", seed, "graded")
        for run in ("same", "blind"):
            shutil.copytree(source, layout.observations(run, seed, "graded"))
        path = layout.observations("blind", seed, "graded") / "signals.parquet"
        table = read_table(path, signal_columns(ACTIONS))
        for view in ("no", "coarse", "full"):
            table[f"score_{view}"] = rng.normal(0, 1, len(table))
        write_table(path, table, signal_columns(ACTIONS))
    for name in NAMES:
        evaluate_experiment(settings, layout, name)
    return settings, layout


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_runs(tmp_path_factory.mktemp("ablations"), SEEDS)


def test_ablations_are_other_runs_under_the_same_policy(world: World) -> None:
    """A default that a stanza spells out is no other policy."""
    settings, _ = world
    assert ablation_experiments(settings) == NAMES
    value = step_settings(settings, "ablation_table")
    assert set(value["experiments"]) == set(NAMES)
    validate(value, "own")


def test_values_are_those_of_the_results(world: World) -> None:
    settings, layout = world
    rows = compare_ablations(settings, layout).set_index("experiment")
    assert rows.index.tolist() == NAMES
    for name in NAMES:
        results = read_results(layout.eval(name) / "results.csv")
        there = results[results["lambda_cost"] == 0.02]
        assert rows.loc[name, "num_seeds"] == len(there) == 3
        for measure in ("accuracy", "avg_cost"):
            assert rows.loc[name, f"{measure}_mean"] == pytest.approx(there[measure].mean())
            assert rows.loc[name, f"{measure}_sd"] == pytest.approx(there[measure].std(ddof=1))
        rate = there["action_rate_full"].mean()
        assert rows.loc[name, "action_rate_full"] == pytest.approx(rate)


def test_gains_are_those_of_the_hull_metrics(world: World) -> None:
    settings, layout = world
    value = step_settings(settings, "ablation_table") | {"results_dir": str(layout.root)}
    hull_metrics(validate(value, "own"), layout)
    metrics = hull_table(layout, "hull_metrics").groupby("experiment")["gain_at_50"]
    rows = compare_ablations(settings, layout).set_index("experiment")
    for name in NAMES:
        assert rows.loc[name, "gain_at_50_mean"] == pytest.approx(metrics.mean()[name])


def test_a_difference_is_beyond_its_interval_or_not(world: World) -> None:
    """The copy differs by exactly 0, a head that knows nothing by more than chance."""
    settings, layout = world
    rows = compare_ablations(settings, layout).set_index("experiment")
    assert rows.loc["vovnet", [name for name in rows if name.startswith("diff")]].isna().all()
    for measure in ("accuracy", "avg_cost", "gain_at_50"):
        name = f"difference_{measure}"
        assert (rows.loc["ablation_same", [name, f"{name}_lo", f"{name}_hi"]] == 0).all()
        assert not rows.loc["ablation_same", f"{name}_beyond"]
        low, high = (rows.loc["ablation_blind", f"{name}{end}"] for end in ("_lo", "_hi"))
        found = rows.loc["ablation_blind", name]
        assert low <= found <= high
        beyond = rows.loc["ablation_blind", f"{name}_beyond"]
        assert beyond == (rows.loc["ablation_blind", f"{name}_p"] < 0.05)
        assert beyond <= (low > 0 or high < 0), "corrected for the number of differences"
        means = [rows.loc[key, f"{measure}_mean"] for key in ("ablation_blind", "vovnet")]
        assert found == pytest.approx(means[0] - means[1])
    assert rows.loc["ablation_blind", "difference_gain_at_50_beyond"]
    assert rows.loc["ablation_blind", "difference_gain_at_50"] < 0
    no_worse = rows["default_not_inferior"]
    assert no_worse["vovnet"] is None and no_worse["ablation_same"] and no_worse["ablation_blind"]


@pytest.mark.parametrize(("lead", "no_worse"), [(0.5, True), (1.5, False)])
def test_the_default_is_no_worse_within_one_point_of_gain(
    world: World, monkeypatch: pytest.MonkeyPatch, lead: float, no_worse: bool
) -> None:
    """The very same recipe, but for a lead in gain that is equal in every resample."""
    settings, layout = world

    def ahead(comparison: Comparison, name: str, dataset: str, seed: int) -> ablations.Measured:
        found = measured(comparison, name, dataset, seed)
        gain_B = found["gain_at_50"] + lead * (name == "ablation_same")
        return found | {"gain_at_50": gain_B}

    measured = ablations._measured
    monkeypatch.setattr(ablations, "_measured", ahead)
    rows = compare_ablations(settings, layout).set_index("experiment")
    assert rows.loc["ablation_same", "difference_gain_at_50_hi"] == pytest.approx(lead)
    assert rows.loc["ablation_same", "default_not_inferior"] == no_worse
    write_ablations(settings, layout)
    caption = (layout.paper / "ablations_appendix.tex").read_text()
    assert "below 1 point" in " ".join(caption.split())


def test_pairing_narrows_the_interval(world: World) -> None:
    """Resampled apart, the two would differ by chance even where they are the same."""
    settings, layout = world
    rows = compare_ablations(settings, layout).set_index("experiment")
    results = read_results(layout.eval("vovnet") / "results.csv")
    there = results[results["lambda_cost"] == 0.02]
    apart = (there["accuracy_hi"] - there["accuracy_lo"]).mean()
    low, high = (rows.loc["ablation_same", f"difference_accuracy{end}"] for end in ("_lo", "_hi"))
    assert high - low < 0.01 * apart


def test_the_files_and_the_command(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    settings, layout = world
    files = write_ablations(settings, layout)
    before = [path.read_bytes() for path in files]
    config = layout.root / "config.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    assert cli.main(["ablation_table", "--config", str(config)]) == 0
    assert str(layout.paper / "ablations.tex") in capsys.readouterr().out
    assert [path.read_bytes() for path in files] == before
    lines = (layout.paper / "ablations.md").read_text().splitlines()
    same, blind = (next(line for line in lines if f"| {run}" in line) for run in ("same", "blind"))
    assert "| none" in same and same.rstrip(" |").endswith("3")
    assert "gain" in blind and "nan" not in "".join(lines)


def test_a_single_seed_has_no_deviation(tmp_path: Path) -> None:
    settings, layout = write_runs(tmp_path, [0])
    rows = compare_ablations(settings, layout)
    assert rows["accuracy_sd"].isna().all() and (rows["num_seeds"] == 1).all()
    write_ablations(settings, layout)
    assert "±" not in (layout.paper / "ablations.md").read_text().splitlines()[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiments": {"ablation_same": {"max_samples": 9}}}, r"ablation_same\.max_samples"),
        ({"experiments": {"ablation_same": {"seeds": [7]}}}, r"ablation_same\.seeds"),
        ({"runs": {"same": {"policy": {"cost_scale": 2.0}}}}, r"runs\.same\.policy\.cost_scale"),
        ({"runs": {"vovnet": {"policy": {"cost_scale": 2.0}}}}, r"same\..*unit of cost, 2, got 1"),
        (
            {"runs": {"same": {"policy": {"lambda_unit": "share_of_full"}}}},
            r"same: .* default's policy\.lambda_unit, 'cost', got 'share_of_full'",
        ),
        ({"report": {"target_lambda": 0.7}}, r"target_lambda: 0\.7 is not a point"),
    ],
)
def test_ablations_that_cannot_be_compared(
    world: World, change: dict[str, object], message: str
) -> None:
    settings, layout = world
    changed = validate(merge(settings.model_dump(), change), "test")
    with pytest.raises(ConfigError, match=message):
        compare_ablations(changed, layout)


def test_no_ablation_is_one_clear_error(tmp_path: Path) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], 20)
    with pytest.raises(ConfigError, match="no ablation"):
        compare_ablations(settings, layout)

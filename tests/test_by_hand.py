"""The specification's commands, typed by hand."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

from support.hands import Hand, one_set
from support.worlds import SETS
from vovnet import cli
from vovnet.commands.by_hand import devices_at
from vovnet.config import load, merge, read_yaml
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.evaluation.columns import read_results, result_columns
from vovnet.inference.recipes import trained_settings
from vovnet.pipeline.keys import step_config_path, write_step_config
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

# ---- training ---------------------------------------------------------------------------


def test_another_recipe_has_a_folder_beside_the_runs_own(
    hand: Hand, capsys: pytest.CaptureFixture[str]
) -> None:
    """Block D2: the ablated model is where the command says, and the main one where it was."""
    stages = hand.root / "runs/vovnet/seed0"
    weights = stages / "stage2/model.safetensors"
    before = weights.read_bytes()
    ablation = hand.layer("soft", {"policy": {"use_straight_through": False}})
    command = ["train", "--config", str(hand.base), "--config", ablation]
    assert cli.main(command) == 0
    first, second = map(Path, capsys.readouterr().out.splitlines())
    assert first == stages / "stage1", "which the two recipes share"
    assert second.parent == stages and second.name.startswith("stage2-")
    assert weights.read_bytes() == before != (second / "model.safetensors").read_bytes()
    written = (second / "model.safetensors").stat().st_mtime_ns
    assert cli.main([*command, "--stage", "2"]) == 0
    assert (second / "model.safetensors").stat().st_mtime_ns == written, "it is complete"


def test_a_stage_1_that_runs_share_tells_its_settings(hand: Hand) -> None:
    """Whichever of them it was trained for."""
    soft = hand.layer("runs", {"runs": {"soft": {"policy": {"use_straight_through": False}}}})
    stage1 = hand.root / "runs/vovnet/seed0/stage1"
    digest = json.loads((stage1 / "manifest.json").read_text())["key"]["config"]
    step_config_path(hand.root, "train", digest).unlink()
    command = ["train", "--config", str(hand.base), "--config", soft, "--run", "soft"]
    assert cli.main([*command, "--stage", "1"]) == 0
    assert trained_settings(stage1).policy.use_straight_through


def test_a_model_answers_as_it_was_trained_to_whatever_is_planned_later(hand: Hand) -> None:
    stage2 = hand.root / "runs/vovnet/seed0/stage2"
    before = trained_settings(stage2).eval.max_new_tokens
    later = load([hand.base], [f"eval.max_new_tokens={before + 3}"])
    path = write_step_config(later, Layout(hand.root), "train", run="vovnet", seed=0, stage=2)
    assert read_yaml(path)["eval"]["max_new_tokens"] == before + 3, "the same file"
    assert trained_settings(stage2).eval.max_new_tokens == before
    chosen = trained_settings(stage2, (), ["eval.max_new_tokens=2"])
    assert chosen.eval.max_new_tokens == 2


# ---- the specification's commands --------------------------------------------------------


def test_eval_sweeps_lambda(hand: Hand, tmp_path: Path) -> None:
    """Block A1."""
    assert cli.main(hand.arguments("eval", tmp_path, "--pareto", "0", "0.02", "0.1", "5")) == 0
    results = read_results(tmp_path / "results.csv")
    assert list(results.columns) == list(result_columns(ACTIONS))
    assert results["lambda_cost"].tolist() == [0, 0.02, 0.1, 5]
    assert set(results["dataset"]) == {"synth_mmmu"}
    assert set(results["baseline_name"]) == {""}
    assert results["num_samples"].tolist() == [15] * 4
    cost = results["avg_cost"].tolist()
    assert cost == sorted(cost, reverse=True) and cost[0] > cost[-1] == 0
    matrix = json.loads((tmp_path / "eval_matrix.json").read_text())
    assert [row["avg_cost"] for row in matrix] == cost
    pd.testing.assert_frame_equal(read_results(tmp_path / "eval_matrix.csv"), results)
    summary = json.loads((tmp_path / "summary.json").read_text())
    (observed,) = summary["inputs"]
    assert observed["set"] == "synth_mmmu"
    for key in ("config_hash", "checkpoint_hash", "samples_hash", "source_digest"):
        assert len(observed[key]) == 64
    assert Path(observed["manifest"]["path"]).is_file()
    assert observed["datasets"][0]["dataset_hash"]


def test_every_form_of_a_checkpoint_gives_the_same_results(hand: Hand, tmp_path: Path) -> None:
    texts = []
    for form in ("stage", "accelerate", "pt"):
        output = tmp_path / form
        arguments = hand.arguments("eval", output, "--max_samples", "4", form=form)
        assert cli.main(arguments) == 0
        texts.append((output / "results.csv").read_text())
    assert texts[0] == texts[1] == texts[2]
    assert read_results(tmp_path / "pt/results.csv")["num_samples"].tolist() == [4]


FIXED = {"always_full": "full", "always_coarse": "coarse", "no_vision": "no"}


@pytest.mark.parametrize("name", FIXED)
def test_baselines_are_a_layer(hand: Hand, tmp_path: Path, name: str) -> None:
    """Block B1: a second --config names the policy, also after --dataset_config."""
    layer = hand.layer(f"baseline_{name}", {"policy": {"baseline_name": name}})
    assert cli.main(hand.arguments("eval", tmp_path, "--config", layer)) == 0
    (row,) = read_results(tmp_path / "results.csv").to_dict("records")
    assert row["baseline_name"] == name
    for view in ACTIONS:
        assert row[f"action_rate_{view}"] == (view == FIXED[name])
    assert (row["avg_cost"] == 0) == (name == "no_vision")
    assert not (tmp_path / "eval_matrix.csv").exists()


def test_the_policies_with_settings_are_layers_too(hand: Hand, tmp_path: Path) -> None:
    """Blocks B2, B3 and E1."""
    layers = {
        "uncertainty": {
            "baseline_name": "uncertainty_threshold",
            "baseline_uncertainty": "entropy",
            "baseline_threshold": 0.5,
            "baseline_vision": "full",
        },
        "random_matched": {
            "baseline_name": "random_policy_matched",
            "baseline_seed": 42,
            "baseline_target_ratios": [0.5, 0.25, 0.25],
        },
        "fallback": {
            "lambda_cost": 9.0,
            "fallback_mode": "full",
            "fallback_entropy_threshold": 0.5,
        },
        "router": {"baseline_name": "bayes_router"},
    }
    for name, policy in layers.items():
        layer, output = hand.layer(name, {"policy": policy}), tmp_path / name
        assert cli.main(hand.arguments("eval", output, "--config", layer)) == 0, name
    rows = {name: read_results(tmp_path / name / "results.csv").iloc[0] for name in layers}
    assert rows["uncertainty"]["threshold"] == 0.5
    assert all(rows["random_matched"][f"action_rate_{view}"] > 0 for view in ACTIONS)
    assert rows["fallback"]["fallback_trigger_rate"] == rows["fallback"]["action_rate_full"] > 0
    assert math.isnan(rows["router"]["fallback_trigger_rate"])


def test_a_seed_is_a_layer(hand: Hand, tmp_path: Path) -> None:
    """Block A2."""
    layer = hand.layer("seed_42", {"training": {"seed": 42}})
    more = ["--config", layer, "--pareto", "0.02", "--max_samples", "2"]
    assert cli.main(hand.arguments("eval", tmp_path, *more)) == 0
    assert read_results(tmp_path / "results.csv")["seed"].tolist() == [42]


@pytest.mark.parametrize(("uncertainty", "falls"), [("entropy", True), ("margin", False)])
def test_pareto_threshold(hand: Hand, tmp_path: Path, uncertainty: str, falls: bool) -> None:
    """Block B2: cost falls with a threshold on entropy, and rises with one on margin."""
    flags = ["--uncertainty", uncertainty, "--vision", "coarse", "--thresholds"]
    arguments = hand.arguments("pareto_threshold", tmp_path, *flags, "-1", "0.3", "0.9", "99")
    assert cli.main([*arguments, "--output_prefix", "threshold"]) == 0
    results = read_results(tmp_path / "threshold.csv")
    assert not (tmp_path / "results.csv").exists()
    assert (tmp_path / "summary.json").is_file()
    pd.testing.assert_frame_equal(read_results(tmp_path / "pareto_threshold.csv"), results)
    assert len(json.loads((tmp_path / "pareto_threshold.json").read_text())) == 4
    assert results["threshold"].tolist() == [-1, 0.3, 0.9, 99]
    cost = results["avg_cost"].tolist()
    assert cost == sorted(cost, reverse=falls)
    assert min(cost) == 0 < max(cost)
    assert results["action_rate_coarse"].max() == 1
    assert (results["action_rate_full"] == 0).all()


def test_oracle_action(hand: Hand, tmp_path: Path) -> None:
    """Block H1: at least as right as any other policy, at most as dear as the dearest."""
    assert cli.main(hand.arguments("oracle_action", tmp_path, "--max_samples", "8")) == 0
    (analysis,) = json.loads((tmp_path / "analysis_oracle.json").read_text()).values()
    found = analysis["policies"]
    oracle = found["oracle"]
    assert oracle["num_samples"] == found["vovnet"]["num_samples"] == 8
    assert analysis["oracle_accuracy"] == oracle["accuracy"] >= analysis["vovnet_accuracy"]
    assert analysis["vovnet_avg_cost"] == found["vovnet"]["avg_cost"]
    for name in FIXED:
        assert oracle["accuracy"] >= found[name]["accuracy"]
    assert oracle["avg_cost"] <= found["always_full"]["avg_cost"]
    restricted = found["oracle_full_correct"]["accuracy"]
    assert restricted == found["always_full"]["accuracy"]
    assert len(read_results(tmp_path / "results.csv")) == len(found)
    assert (tmp_path / "summary.json").is_file()


def test_parallel_devices_give_the_numbers_of_one(hand: Hand, tmp_path: Path) -> None:
    """Block C1: all three sets, observed by three processes."""
    sets = merge(merge(one_set(SETS[0]), one_set(SETS[1])), one_set(SETS[2]))
    generalization = hand.layer("generalization", sets)
    shared = ["--config", str(hand.base), "--dataset_config", generalization]
    shared += ["--checkpoint", str(hand.checkpoints["stage"]), "--pareto", "0.02"]
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert cli.main(["eval", *shared, "--output_dir", str(alone)]) == 0
    shutil.rmtree(hand.root / "observations")
    parallel = ["--parallel", "--gpus", "0,1,2"]
    assert cli.main(["eval", *shared, "--output_dir", str(together), *parallel]) == 0
    shards = list((hand.root / "observations").rglob("manifest.json"))
    assert {path.parent.name for path in shards} >= {f"{part}-of-3" for part in range(3)}
    assert read_results(together / "results.csv")["dataset"].tolist() == list(SETS)
    assert (together / "results.csv").read_bytes() == (alone / "results.csv").read_bytes()
    assert (together / "samples.parquet").read_bytes() == (alone / "samples.parquet").read_bytes()


def test_a_second_command_runs_no_model(
    hand: Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after one on fewer samples, whose observations are its own."""
    few = hand.arguments("oracle_action", tmp_path / "few", "--max_samples", "3")
    whole = hand.arguments("eval", tmp_path / "whole")
    assert cli.main(whole) == cli.main(few) == 0
    monkeypatch.setattr(
        "vovnet.inference.observe.load_trained", lambda *_: pytest.fail("a model ran")
    )
    assert cli.main(whole) == cli.main(few) == 0


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["0", "2"]),
        ("4,5,6", ["4", "6"]),
        ("GPU-a,GPU-b,GPU-c", ["GPU-a", "GPU-c"]),
        ("", ["", ""]),
    ],
)
def test_devices_are_counted_among_the_visible(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: list[str]
) -> None:
    monkeypatch.setenv("GPU_LEASES_PRETEND", "8")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices_at([0, 2]) == expected
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(ConfigError, match=r"device 2 is not among the 1 .*_VISIBLE_DEVICES=7\)"):
        devices_at([0, 2])

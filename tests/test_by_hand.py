"""The specification's commands, typed by hand, and what they say about bad input."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from support.worlds import SETS, world_config
from vovnet import cli
from vovnet.commands.parallel import devices_at
from vovnet.config import merge
from vovnet.core.errors import ConfigError
from vovnet.evaluation.columns import read_results, result_columns
from vovnet.training.checkpoints import list_checkpoints
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

SHORT: dict[str, Any] = {
    "training": {
        "batch_size": 8,
        "stage1_epochs": 0.2,
        "stage2_epochs": 0.2,
        "head_learning_rate": 0.1,  # two steps must move the scores
        "calibration_samples": 0,
    },
    "eval": {"shard_rows": 4},
}


@dataclass
class Hand:
    """A prepared results folder, its configuration layers and the checkpoints in it."""

    root: Path
    base: Path
    checkpoints: dict[str, Path] = field(default_factory=dict)

    def layer(self, name: str, value: dict[str, Any]) -> str:
        """A YAML file to layer on the base, as its path."""
        path = self.root / f"{name}.yaml"
        path.write_text(yaml.safe_dump(value), encoding="utf-8")
        return str(path)

    def arguments(self, command: str, output: Path, *more: str, form: str = "stage") -> list[str]:
        """A command on a checkpoint; `more` follows the shared flags."""
        checkpoint = ["--checkpoint", str(self.checkpoints[form])]
        return [
            *(command, "--config", str(self.base)),
            *("--dataset_config", self.layer("mmmu", one_set("synth_mmmu"))),
            *(*checkpoint, "--output_dir", str(output), *more),
        ]


def one_set(name: str) -> dict[str, Any]:
    """A dataset_config that evaluates one set."""
    split = {"synth_mmbench": "dev", "synth_mmmu": "validation", "synth_textvqa": "val"}[name]
    return {"data": {"eval_sets": {name: {"dataset": name, "split": split}}}}


def write_base(root: Path) -> Path:
    """The configuration of a short training, without experiments: those are by hand."""
    base = root / "base.yaml"
    value = merge(world_config(root), SHORT) | {"experiments": {}, "targets": {}}
    value["runs"] = {"vovnet": {}}
    base.write_text(yaml.safe_dump(value), encoding="utf-8")
    return base


@pytest.fixture(scope="module")
def hand(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Hand:
    """Trained for two steps a stage; the checkpoint in each form that evaluation takes."""
    root = tmp_path_factory.mktemp("hand")
    (root / "data").symlink_to(world / "data", target_is_directory=True)
    hand = Hand(root, write_base(root))
    assert cli.main(["train", "--config", str(hand.base)]) == 0
    stage2 = root / "runs/vovnet/seed0/stage2"
    ((_, state),) = list_checkpoints(stage2)
    hand.checkpoints = {"stage": stage2, "accelerate": state}
    as_pt = hand.layer("pt", {"training": {"checkpoint_format": "pt"}, "results_dir": f"{root}/pt"})
    (root / "pt").mkdir()
    (root / "pt/data").symlink_to(world / "data", target_is_directory=True)
    assert cli.main(["train", "--config", str(hand.base), "--config", as_pt]) == 0
    ((_, hand.checkpoints["pt"]),) = list_checkpoints(root / "pt/runs/vovnet/seed0/stage2")
    return hand


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


# ---- the specification's commands --------------------------------------------------------


def test_eval_sweeps_lambda(hand: Hand, tmp_path: Path) -> None:
    """Block A1."""
    assert cli.main(hand.arguments("eval", tmp_path, "--pareto", "0", "0.02", "0.1", "5")) == 0
    results = read_results(tmp_path / "results.csv")
    assert list(results.columns) == list(result_columns(ACTIONS))
    assert results["lambda_cost"].tolist() == [0, 0.02, 0.1, 5]
    assert set(results["dataset"]) == {"synth_mmmu"}
    assert set(results["baseline_name"]) == {""}
    assert results["num_samples"].tolist() == [14] * 4
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
    monkeypatch.setenv("VOVNET_GPUS", "8")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices_at([0, 2]) == expected
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(ConfigError, match=r"device 2 is not among the 1 .*_VISIBLE_DEVICES=7\)"):
        devices_at([0, 2])


# ---- bad input ---------------------------------------------------------------------------


class Payload:
    """A pickle that would run code."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.target),)


EVAL = ["eval", "--config", "BASE", "--checkpoint", "STAGE", "--output_dir", "OUT"]
THRESHOLD = ["pareto_threshold", *EVAL[1:]]
SAMPLES = "data/synth_mmbench/dev.jsonl"


def layered(text: str) -> Callable[[Path], None]:
    return lambda root: (root / "layer.yaml").write_text(text, encoding="utf-8") and None


def damage(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def broken(root: Path) -> None:
        path = root / name
        path.write_bytes(change(path.read_bytes()))

    return broken


def third_line(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join([*lines[:2], lines[2][:40] + b"\n", *lines[3:]])


def no_images(root: Path) -> None:
    for path in (root / "data/synth_mmbench/images").iterdir():
        path.unlink()


def no_raw_image(root: Path) -> None:
    for path in (root / "raw/synth_textvqa/train_images").iterdir():
        path.unlink()


def hostile(root: Path) -> None:
    content = pickle.dumps({"model": Payload(root / "was-here")})
    (root / "hostile.pt").write_bytes(content)
    torch.save({"model": Payload(root / "was-here")}, root / "hostile-zip.pt")


def truncated_pt(root: Path) -> None:
    torch.save({"model": {"w": torch.zeros(1000)}}, root / "whole.pt")
    content = (root / "whole.pt").read_bytes()
    (root / "half.pt").write_bytes(content[: len(content) // 2])


def nothing(root: Path) -> None:
    """The arguments alone are wrong."""


LAYER = ["--config", "LAYER"]
DATASET = ["--config", "BASE", "--dataset"]
STAGE_WEIGHTS = "stage2/model.safetensors"

# What is broken in a results folder, the command that is run then, and what it must say.
BAD: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "unknown key": (layered("polcy: {}"), [*EVAL, *LAYER], "LAYER: polcy: unknown key"),
    "unknown nested key": (
        layered("policy: {lamda_cost: 1}"),
        [*EVAL, *LAYER],
        "LAYER: policy.lamda_cost: unknown key",
    ),
    "unknown policy key of an experiment": (
        layered("experiments: {a: {title: A, policy: {lamda_cost: 1}}}"),
        ["evaluate", "--config", "BASE", *LAYER, "--experiment", "a"],
        "experiments.a.policy.lamda_cost: unknown key",
    ),
    "not YAML": (layered("policy: [1"), [*EVAL, *LAYER], "LAYER, line 1: not valid YAML"),
    "no mapping": (layered("- 1"), [*EVAL, *LAYER], "LAYER: expected a mapping of keys, got list"),
    "YAML with code": (
        layered("policy: !!python/object/apply:os.mkdir [was-here]"),
        [*EVAL, *LAYER],
        "LAYER, line 1: not valid YAML",
    ),
    "missing config": (nothing, [*EVAL, *LAYER], "LAYER: file not found"),
    "missing dataset_config": (
        nothing,
        [*EVAL, "--dataset_config", "LAYER"],
        "LAYER: file not found",
    ),
    "lambda in --pareto": (
        nothing,
        [*EVAL, "--pareto", "0", "low"],
        "argument --pareto: invalid number value: 'low'",
    ),
    "nan in --pareto": (nothing, [*EVAL, "--pareto", "nan"], "invalid number value: 'nan'"),
    "negative lambda": (
        nothing,
        [*EVAL, "--pareto", "-0.1"],
        "lambda_cost: Input should be greater than or equal to 0, got -0.1",
    ),
    "lambda in YAML": (
        layered("policy: {lambda_cost: low}"),
        [*EVAL, *LAYER],
        "LAYER: policy.lambda_cost: Input should be a valid number",
    ),
    "nan in YAML": (
        layered("policy: {lambda_cost: .nan}"),
        [*EVAL, *LAYER],
        "LAYER: policy.lambda_cost: ",
    ),
    "lambda in a sweep": (
        layered("experiments: {a: {title: A, sweep: {lambda_cost: [0, low]}}}"),
        ["evaluate", "--config", "BASE", *LAYER, "--experiment", "a"],
        "experiments.a.policy.lambda_cost: Input should be a valid number",
    ),
    "threshold in --thresholds": (
        nothing,
        [*THRESHOLD, "--thresholds", "0.1", "x"],
        "argument --thresholds: invalid number value: 'x'",
    ),
    "nan in --thresholds": (nothing, [*THRESHOLD, "--thresholds", "nan"], "value: 'nan'"),
    "threshold in YAML": (
        layered("policy: {baseline_name: uncertainty_threshold, baseline_threshold: x}"),
        [*EVAL, *LAYER],
        "LAYER: policy.baseline_threshold: Input should be a valid number",
    ),
    "nan threshold in YAML": (
        layered("policy: {baseline_threshold: .nan}"),
        [*EVAL, *LAYER],
        "LAYER: policy.baseline_threshold: Input should be a number, got nan",
    ),
    "no threshold": (
        layered("policy: {baseline_name: uncertainty_threshold}"),
        [*EVAL, *LAYER],
        "baseline_threshold",
    ),
    "no ratios": (
        layered("policy: {baseline_name: random_policy_matched}"),
        [*EVAL, *LAYER],
        "baseline_target_ratios",
    ),
    "no sample": (
        nothing,
        [*EVAL, "--max_samples", "0"],
        "argument --max_samples: expected a whole number from 1, got '0'",
    ),
    "devices without --parallel": (nothing, [*EVAL, "--gpus", "0"], "--parallel and --gpus go"),
    "odd devices": (nothing, [*EVAL, "--gpus", "0,0"], "expected different numbers"),
    "missing image": (no_images, EVAL, "image not found"),
    "missing raw image": (
        no_raw_image,
        ["prepare", *DATASET, "synth_textvqa", "--split", "train"],
        ".jpg not found",
    ),
    "broken image": (
        lambda root: [path.write_bytes(b"x") for path in root.glob("data/synth_mmbench/images/*")],
        EVAL,
        "not a readable image",
    ),
    "broken line": (
        damage(SAMPLES, third_line),
        EVAL,
        f"{SAMPLES}, line 3: not valid JSON",
    ),
    "wrong record": (
        damage(SAMPLES, lambda content: content.replace(b'"question":', b'"qestion":', 1)),
        EVAL,
        f"{SAMPLES}, line 1, question: Field required",
    ),
    "not UTF-8": (damage(SAMPLES, lambda content: b"\xff" + content), EVAL, "not valid UTF-8"),
    "empty dataset": (damage(SAMPLES, lambda content: b""), EVAL, f"{SAMPLES}: the dataset is"),
    "missing dataset": (lambda root: (root / SAMPLES).unlink(), EVAL, f"{SAMPLES}: file not found"),
    "empty raw dataset": (
        damage("raw/synth_mmbench/synth_mmbench_dev.tsv", lambda content: b""),
        ["prepare", *DATASET, "synth_mmbench", "--split", "dev"],
        "synth_mmbench_dev.tsv",
    ),
    "raw dataset without rows": (
        damage(
            "raw/synth_mmbench/synth_mmbench_dev.tsv", lambda content: content.splitlines(True)[0]
        ),
        ["prepare", *DATASET, "synth_mmbench", "--split", "dev"],
        "synth_mmbench_dev.tsv",
    ),
    "raw JSON without rows": (
        damage("raw/synth_llava/llava_instruct.json", lambda content: b"[]"),
        ["prepare", *DATASET, "synth_llava", "--split", "train"],
        "llava_instruct.json",
    ),
    "truncated stage": (
        damage(STAGE_WEIGHTS, lambda content: content[: len(content) // 2]),
        EVAL,
        "stage2/model.safetensors: cannot be read",
    ),
    "empty stage": (
        damage(STAGE_WEIGHTS, lambda content: b""),
        EVAL,
        "stage2/model.safetensors: cannot be read",
    ),
    "truncated .pt": (truncated_pt, [*EVAL, "--checkpoint", "ROOT/half.pt"], "half.pt: "),
    "code in a .pt": (hostile, [*EVAL, "--checkpoint", "ROOT/hostile.pt"], "hostile.pt: refused"),
    "code in a zipped .pt": (
        hostile,
        [*EVAL, "--checkpoint", "ROOT/hostile-zip.pt"],
        "hostile-zip.pt: refused",
    ),
    "no checkpoint": (
        nothing,
        [*EVAL, "--checkpoint", "ROOT/gone"],
        "gone: no checkpoint there, expected",
    ),
    "folder without weights": (
        lambda root: (root / "hollow").mkdir(),
        [*EVAL, "--checkpoint", "ROOT/hollow"],
        "hollow: no checkpoint there",
    ),
    "unknown dataset": (
        nothing,
        ["prepare", *DATASET, "nope", "--split", "dev"],
        "data.datasets: no dataset named 'nope', expected one of ['synth_llava', ",
    ),
    "unknown split": (
        nothing,
        ["prepare", *DATASET, "synth_mmbench", "--split", "nope"],
        "data.datasets.synth_mmbench.files.nope: no such split, expected one of ['dev', 'train']",
    ),
    "unknown dataset to render": (nothing, ["synthesize", *DATASET, "nope"], "'nope'"),
    "unknown set": (
        nothing,
        ["observe", *DATASET, "nope", "--run", "vovnet", "--seed", "0"],
        "data.eval_sets: no set named 'nope', expected one of ['synth_mmbench', ",
    ),
    "unknown set to gather": (
        nothing,
        ["gather", *DATASET, "nope", "--run", "vovnet", "--seed", "0"],
        "data.eval_sets: no set named 'nope'",
    ),
    "unknown run": (
        nothing,
        ["observe", *DATASET, "synth_mmmu", "--run", "nope", "--seed", "0"],
        "runs: no run named 'nope', expected one of ['vovnet']",
    ),
    "unknown run to gather": (
        nothing,
        ["gather", *DATASET, "synth_mmmu", "--run", "nope", "--seed", "0"],
        "runs: no run named 'nope'",
    ),
    "unknown run to train": (
        nothing,
        ["train", "--config", "BASE", "--run", "nope"],
        "runs: no run named 'nope'",
    ),
    "unknown experiment": (
        nothing,
        ["evaluate", "--config", "BASE", "--experiment", "nope"],
        "experiments: no experiment named 'nope'",
    ),
    "unknown experiment to match": (
        nothing,
        ["match", "--config", "BASE", "--experiment", "nope"],
        "experiments: no experiment named 'nope'",
    ),
    "unknown live experiment": (
        nothing,
        ["live", "--config", "BASE", "--experiment", "nope"],
        "experiments: no live experiment named 'nope'",
    ),
    "nothing observed": (
        layered("experiments: {a: {title: A}}"),
        ["evaluate", "--config", "BASE", *LAYER, "--experiment", "a"],
        "file not found",
    ),
    "nothing trained": (
        nothing,
        ["observe", *DATASET, "synth_mmmu", "--run", "vovnet", "--seed", "0"],
        "no checkpoint there",
    ),
}


@pytest.fixture
def breakable(world: Path, hand: Hand, tmp_path: Path) -> Hand:
    """A copy of everything that a case may damage."""
    root = tmp_path / "root"
    for name in ("data", "raw"):
        shutil.copytree(world / name, root / name)
    shutil.copytree(hand.checkpoints["stage"], root / "stage2")
    return Hand(root, write_base(root), {"stage": root / "stage2"})


def files(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(
    breakable: Hand, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, template, message = BAD[name]
    root = breakable.root
    change(root)
    before = files(root)
    words = {"BASE": root / "base.yaml", "LAYER": root / "layer.yaml", "OUT": root / "out"}
    words |= {"STAGE": root / "stage2", "ROOT": root}

    def filled(text: str) -> str:
        for word, path in words.items():
            text = text.replace(word, str(path))
        return text

    arguments = [filled(argument) for argument in template]
    status, stderr = called(arguments, capsys)
    assert status == 2, stderr
    assert filled(message) in stderr
    assert stderr.startswith("vovnet") and ": error: " in stderr
    assert stderr.count("\n") == 1 and stderr.endswith("\n"), stderr
    assert not (root / "was-here").exists() and not Path("was-here").exists()
    left = files(root) - before
    names = {path.name for path in left if path.suffix != ".lock"}
    assert names <= {"key.json"}, "nothing half-written"


def called(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """Exit status and stderr of a command."""
    capsys.readouterr()
    try:
        status: Any = cli.main(arguments)
    except SystemExit as stopped:  # argparse
        status = stopped.code
    return status, capsys.readouterr().err


def test_the_line_is_all_that_a_process_says(breakable: Hand) -> None:
    """No warning, progress bar or log line of a library stands beside it."""
    hostile(breakable.root)
    path = breakable.checkpoints["bad"] = breakable.root / "hostile.pt"
    arguments = breakable.arguments("eval", breakable.root / "out", form="bad")
    result = subprocess.run(
        [sys.executable, "-m", "vovnet", *arguments], capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"vovnet: error: {path}: refused")
    assert result.stderr.count("\n") == 1

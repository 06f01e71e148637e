"""What commands by hand make easy, and what they warn of or refuse."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from support.hands import Hand, one_set
from support.repository import ROOT, shared
from support.specification import read_blocks
from vovnet import cli
from vovnet.commands.by_hand import EXPERIMENT, checkpoint_settings
from vovnet.config import load, merge
from vovnet.core.files import write_json
from vovnet.evaluation.columns import read_results
from vovnet.model.vovnet import VoVNet, save_weights
from vovnet.policies import baseline_names
from vovnet.policies.experiments import resolve_experiment

SET = "synth_mmmu"
NEEDED: dict[str, tuple[str, ...]] = {
    "always_view": ("view=96",),
    "uncertainty_threshold": ("baseline_threshold=0.5", "baseline_vision=coarse"),
    "cascade": ("options.threshold=0.3",),
    "random_policy_matched": ("baseline_target_ratios=[0.5, 0.25, 0.25]",),
    "resolution_scaling_proxy": ("baseline_long_side=96",),
}
"""Policies that lack a setting by default."""


def notes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    marked = [line for line in capsys.readouterr().err.splitlines() if "vovnet: note: " in line]
    return [line.partition("vovnet: note: ")[2] for line in marked]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(arguments) == 2
    return capsys.readouterr().err.splitlines()[-1].removeprefix("vovnet: error: ")


def test_every_baseline_goes_without_a_file(hand: Hand, tmp_path: Path) -> None:
    names = [name for name in baseline_names() if name is not None]
    assert set(NEEDED) <= set(names)
    for name in names:
        keys = [f"policy.baseline_name={name}", *(f"policy.{key}" for key in NEEDED.get(name, ()))]
        more = [part for key in keys for part in ("--set", key)]
        output = tmp_path / name
        arguments = hand.arguments("eval", output, "--max_samples", "3", *more)
        assert cli.main(arguments) == 0, name
        assert set(read_results(output / "results.csv")["baseline_name"]) == {name}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("policy.lambda_cost", "--set: expected key=value as in eval.batch_size=8, got"),
        (".lambda_cost=1", "--set: expected key=value"),
        ("policy.lambda=1", "--set policy.lambda=1: policy.lambda: unknown key"),
        ("policy.lambda_cost=dear", "policy.lambda_cost: "),
        ("eval.batch_size=[1", "--set eval.batch_size=[1: not valid YAML"),
    ],
)
def test_a_wrong_key_is_one_line(
    hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, fault: str
) -> None:
    assert fault in refused(hand.arguments("eval", tmp_path, "--set", text), capsys)


# ---- block B3 --------------------------------------------------------------------------


def matched_layer(folder: Path) -> None:
    """Run what block B3 feeds to Python, as it stands, in a folder with A1's results."""
    blocks = read_blocks(shared("spec/experiments-pipeline.md"))
    (script, *_), *_ = (block.commands for block in blocks if block.section == "B3")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (folder / "logs").mkdir(exist_ok=True)
    command = ["bash", "-e", "-c", script.foreground]
    subprocess.run(command, check=True, cwd=folder, env=os.environ | {"PATH": path})


def test_b3_follows_a1_under_the_shipped_suite(hand: Hand, tmp_path: Path) -> None:
    """config/config.yaml as it is, with the data and the short training of the tests."""
    config = ["--config", str(ROOT / "config/config.yaml"), "--set", f"results_dir={hand.root}"]
    own = {"data": {"eval_sets": {"mmbench_dev": {"dataset": "synth_mmbench", "split": "dev"}}}}
    config += ["--dataset_config", hand.layer("mmbench_dev", own)]
    config += ["--checkpoint", str(hand.checkpoints["stage"]), "--output_dir"]
    results = tmp_path / "outputs/eval/ckpt_10000"
    swept = ["--pareto", "0", "0.01", "0.02", "0.05", "0.1"]
    assert cli.main(["eval", *config, str(results / "mmbench_dev_pareto"), *swept]) == 0
    matched_layer(tmp_path)
    layer = ["--config", str(tmp_path / "configs/baseline_random_matched.yaml")]
    output = results / "mmbench_dev_random_matched"
    assert cli.main(["eval", *config, str(output), *layer]) == 0
    (row,) = read_results(output / "results.csv").to_dict("records")
    assert row["baseline_name"] == "random_policy_matched"


@pytest.mark.parametrize("suite", ["config", "base_8b", "paper", "single_gpu", "test"])
def test_b3s_layer_fits_every_shipped_suite(hand: Hand, tmp_path: Path, suite: str) -> None:
    """Its ratios are those of the suite's own actions, in the columns that the block reads."""
    path = ROOT / f"config/{suite}.yaml"
    rates = [f"action_rate_{action}" for action in load([path]).actions]
    results = tmp_path / "outputs/eval/ckpt_10000/mmbench_dev_pareto/results.csv"
    results.parent.mkdir(parents=True)
    lines = ["dataset,lambda_cost,baseline_name," + ",".join(rates)]
    lines += ["mmbench_dev,0.05,," + ",".join(["0.3333333"] * len(rates))]
    results.write_text("\n".join(lines) + "\n")
    matched_layer(tmp_path)
    args = cli_arguments([path, tmp_path / "configs/baseline_random_matched.yaml"])
    settings = checkpoint_settings(args, {}, {})
    (point,) = resolve_experiment(settings, EXPERIMENT).points
    assert point.baseline_target_ratios == [0.333333] * 3


def cli_arguments(config: list[Path]) -> Any:
    import argparse

    given: dict[str, Any] = {"config": config, "dataset_config": [], "set": []}
    return argparse.Namespace(**given, max_samples=None, gpus=None)


# ---- what is odd about a checkpoint ----------------------------------------------------


def test_another_seed_is_said(
    hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a seed in the configuration the results have that of the checkpoint."""
    copied = copied_stage(hand, tmp_path, {"seed": 7})
    arguments = [*hand.arguments("eval", tmp_path / "own", "--max_samples", "2")]
    assert cli.main([*arguments, "--checkpoint", str(copied)]) == 0
    assert notes(capsys) == []
    assert read_results(tmp_path / "own/results.csv")["seed"].tolist() == [7]
    other = [*hand.arguments("eval", tmp_path / "other", "--max_samples", "2")]
    assert cli.main([*other, "--checkpoint", str(copied), "--set", "training.seed=42"]) == 0
    (line,) = notes(capsys)
    assert line == f"{copied}: was trained with seed 7, and results will say seed 42"


def copied_stage(hand: Hand, folder: Path, facts: dict[str, Any]) -> Path:
    """A copy of the trained stage whose manifest says something else."""
    target = folder / "stage2"
    shutil.copytree(hand.checkpoints["stage"], target)
    manifest = json.loads((target / "manifest.json").read_text())
    write_json(target / "manifest.json", manifest | facts)
    return target


def test_an_untrained_head_is_said_every_time(
    hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage1 = hand.checkpoints["stage"].with_name("stage1")
    settings = load([hand.base])
    (tmp_path / "untrained").mkdir()
    save_weights(VoVNet(settings), tmp_path / "untrained/model.safetensors")
    torch.save({"model": VoVNet(settings).state_dict()}, tmp_path / "untrained.pt")
    for checkpoint, fault in (
        (stage1, "is of stage 1, its policy head is untrained"),
        (tmp_path / "untrained", "its policy head is untrained, it scores every action alike"),
        (tmp_path / "untrained.pt", "its policy head is untrained, it scores every action alike"),
    ):
        for _ in range(2):  # the second call runs no model
            output = tmp_path / f"of-{checkpoint.name}"
            arguments = hand.arguments("eval", output, "--max_samples", "2")
            assert cli.main([*arguments, "--checkpoint", str(checkpoint)]) == 0
            assert notes(capsys) == [f"{checkpoint}: {fault}"]


def test_what_the_run_overrides_holds_by_hand(hand: Hand, tmp_path: Path) -> None:
    """Features of the head, and lambda; what is set on top of it wins."""
    run = {"policy": {"feature_mode": "hidden_entropy_margin", "lambda_cost": 99.0}}
    suite = hand.layer("suite", {"runs": {"vovnet": {}, "features": run}})
    settings = load([hand.base], ["policy.feature_mode=hidden_entropy_margin"])
    torch.manual_seed(0)
    network = VoVNet(settings)
    torch.nn.init.normal_(network.head.out.weight)
    checkpoint = tmp_path / "stage2"
    checkpoint.mkdir()
    save_weights(network, checkpoint / "model.safetensors")
    write_json(checkpoint / "manifest.json", {"run": "features", "seed": 0, "stage": 2})
    rows = {}
    for name, more in {"run": [], "set": ["--set", "policy.lambda_cost=0"]}.items():
        arguments = hand.arguments("eval", tmp_path / name, "--config", suite, *more)
        assert cli.main([*arguments, "--checkpoint", str(checkpoint)]) == 0
        (rows[name],) = read_results(tmp_path / name / "results.csv").to_dict("records")
    assert rows["run"]["lambda_cost"] == 99 and rows["run"]["action_rate_no"] == 1
    assert rows["set"]["lambda_cost"] == 0 and rows["set"]["action_rate_no"] < 1


# ---- what a command writes and prints --------------------------------------------------


def test_sizes_with_equal_means_are_said(
    hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--vision_budget_list", "64,512,1024", "--max_samples", "3"]
    assert cli.main(hand.arguments("pareto_resolution", tmp_path, *sizes)) == 0
    (line,) = notes(capsys)
    assert line.startswith(f"{SET}: side 512 and 1024 have equal mean accuracy")


def test_the_numbers_are_printed(
    hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(hand.arguments("eval", tmp_path, "--pareto", "0", "5")) == 0
    *table, path = capsys.readouterr().out.splitlines()
    assert path == str(tmp_path / "results.csv")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table if "VoVNet" in line]
    results = read_results(path)
    assert [row[:3] for row in rows] == [[SET, "VoVNet", "0"], [SET, "VoVNet", "5"]]
    accuracies = [row[4].partition(" ")[0] for row in rows]
    assert accuracies == [f"{100 * value:.1f}" for value in results["accuracy"]]
    assert cli.main(hand.arguments("oracle_action", tmp_path / "oracle", "--max_samples", "3")) == 0
    assert "| oracle_full_correct" in capsys.readouterr().out


def test_other_results_are_not_replaced_unasked(
    hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = hand.arguments("eval", tmp_path / "out", "--max_samples", "2")
    assert cli.main(arguments) == cli.main(arguments) == 0, "the same command goes again"
    before = (tmp_path / "out/results.csv").read_bytes()
    copied = copied_stage(hand, tmp_path, {})
    weights = VoVNet(load([hand.base]))
    (copied / "manifest.json").unlink()
    save_weights(weights, copied / "model.safetensors")
    swept = [*arguments, "--pareto", "0", "5"]
    for other in (swept, [*arguments, "--checkpoint", str(copied)]):
        assert "out holds other results (results.csv)" in refused(other, capsys)
        assert (tmp_path / "out/results.csv").read_bytes() == before
    assert cli.main([*swept, "--overwrite"]) == 0
    assert len(read_results(tmp_path / "out/results.csv")) == 2


def test_a_command_works_from_any_folder(
    hand: Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths in the configuration are the project's, those on the command line the caller's."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (project / "config").mkdir(parents=True)
    elsewhere.mkdir()
    (project / "Snakefile").touch()
    shutil.copytree(hand.root, project / "results/own", symlinks=True)
    relative = merge(yaml.safe_load(hand.base.read_text()), {"results_dir": "results/own"})
    (project / "config/suite.yaml").write_text(yaml.safe_dump(relative))
    shutil.copy2(hand.layer("mmmu", one_set(SET)), project / "config/mmmu.yaml")
    shared_flags = ["--max_samples", "2", "--dataset_config"]
    for number, (place, up) in enumerate(
        [
            (project, "."),
            (project / "config", ".."),
            (elsewhere, "../project"),
            (Path("/"), project),
        ]
    ):
        monkeypatch.chdir(place)
        output = os.path.relpath(tmp_path / f"out{number}")
        command = ["eval", "--config", f"{up}/config/suite.yaml", *shared_flags]
        command += [f"{up}/config/mmmu.yaml", "--output_dir", output]
        command += ["--checkpoint", f"{up}/results/own/runs/vovnet/seed0/stage2"]
        assert cli.main(command) == 0, capsys.readouterr().err
        assert (tmp_path / f"out{number}/results.csv").is_file()
    assert sorted(path.name for path in elsewhere.iterdir()) == []


def test_what_is_not_prepared_is_said(
    hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare, config = ["--set", f"results_dir={tmp_path / 'bare'}"], ["--config", str(hand.base)]
    for command in (
        hand.arguments("eval", tmp_path / "out", *bare),
        ["train", *config, *bare],
        ["observe", *("--run", "vovnet", "--seed", "0", "--dataset", SET), *config, *bare],
    ):
        line = refused(command, capsys)
        assert "not found, run `vovnet synthesize --dataset synth_" in line
        assert "and `vovnet prepare --dataset synth_" in line and "--split" in line


def test_training_goes_to_a_folder_of_ones_own(
    hand: Hand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is asked and evaluated from there."""
    before = sorted((hand.root / "runs").rglob("*"))
    own = tmp_path / "mine"
    assert cli.main(["train", "--config", str(hand.base), "--output_dir", str(own)]) == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == [own / "stage1", own / "stage2"]
    assert sorted((hand.root / "runs").rglob("*")) == before
    weights = (own / "stage2/model.safetensors").read_bytes()
    assert weights == (hand.checkpoints["stage"] / "model.safetensors").read_bytes()
    steps = {path: path.read_bytes() for path in (own / "config").iterdir()}
    assert len(steps) == 2
    for path in steps:  # a stage is the same by its own configuration, as the DAG calls it
        stage = "2" if b"stage2_epochs" in steps[path] else "1"
        command = ["train", "--config", str(path), "--output_dir", str(own), "--stage", stage]
        assert cli.main(command) == 0
        assert capsys.readouterr().out.splitlines() == [str(own / f"stage{stage}")]
    assert {path: path.read_bytes() for path in (own / "config").iterdir()} == steps
    picture = next((hand.root / "data/synth_textvqa/images").glob("*.*"))
    asked = ["ask", "--checkpoint", str(own / "stage2"), "--image", str(picture)]
    assert cli.main([*asked, "--question", "Which colour?"]) == 0

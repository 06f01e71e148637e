"""Bad input of every command is one clear line, and leaves nothing behind."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from support.commands import called
from support.hands import Hand, write_base


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


def by_hand(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """The same of a file of which no manifest tells what it was."""

    def edited(root: Path) -> None:
        damage(name, change)(root)
        for manifest in (root / name).parent.glob("*manifest.json"):
            manifest.unlink()

    return edited


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
        "damaged, its content is not what was prepared",
    ),
    "broken line": (
        by_hand(SAMPLES, third_line),
        EVAL,
        f"{SAMPLES}, line 3: not valid JSON",
    ),
    "wrong record": (
        by_hand(SAMPLES, lambda content: content.replace(b'"question":', b'"qestion":', 1)),
        EVAL,
        f"{SAMPLES}, line 1, question: Field required",
    ),
    "not UTF-8": (by_hand(SAMPLES, lambda content: b"\xff" + content), EVAL, "not valid UTF-8"),
    "empty dataset": (by_hand(SAMPLES, lambda content: b""), EVAL, f"{SAMPLES}: the dataset is"),
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
    "damaged samples": (
        damage(SAMPLES, lambda content: b"".join(content.splitlines(True)[:-1])),
        EVAL,
        f"{SAMPLES}: damaged, its content is not what dev.manifest.json says: remove ",
    ),
    "damaged stage": (
        damage(STAGE_WEIGHTS, lambda content: content[:-100] + bytes(100)),
        EVAL,
        "stage2/model.safetensors: damaged, its content is not what manifest.json says: remove ",
    ),
    "damaged image": (
        lambda root: [
            path.write_bytes(path.read_bytes()[:-20] + bytes(20))
            for path in root.glob("data/synth_mmbench/images/*")
        ],
        EVAL,
        "damaged, its content is not what was prepared: remove the manifests in",
    ),
    "truncated stage": (
        by_hand(STAGE_WEIGHTS, lambda content: content[: len(content) // 2]),
        EVAL,
        "stage2/model.safetensors: cannot be read",
    ),
    "empty stage": (
        by_hand(STAGE_WEIGHTS, lambda content: b""),
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
    assert files(root) <= before, "nothing half-written"


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

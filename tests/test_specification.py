"""A walk through the experiments' specification: every command block runs as it stands.

The blocks run in the order of the document in one folder, which has `configs/`, `data/processed/`
and `logs/` as the document takes them for granted. Of the commands nothing but the program's
name is changed (`head_of`). What the embedded suite puts in the place of real files is in
`base_layer` and `stage2_layer`; the other layers are those under config/.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
import yaml

from support.repository import ROOT, TINY_MODEL, shared
from support.specification import OPENING, Block, Command, read_blocks
from vovnet import cli
from vovnet.config import load, read_yaml
from vovnet.core.files import sha256_file
from vovnet.data.samples import read_samples
from vovnet.evaluation.columns import read_results, result_columns
from vovnet.training.checkpoints import list_checkpoints
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

pytestmark = pytest.mark.slow

DOCUMENT = "spec/experiments-pipeline.md"
PROCESSES = 2
"""In the place of the document's eight GPUs: gloo on the CPU."""

CHECKPOINT = "outputs/train_mmbench_llava_textvqa_vovnet_stage2/checkpoint-10000.pt"
"""Where the document's commands look for what block A0 trains."""

TRAINED = {"A0": CHECKPOINT, **{name: f"outputs/{name}.pt" for name in ("D2", "D3", "MVP")}}
"""Block -> what the walk calls its checkpoint."""

EVALUATED = Path("outputs/eval/ckpt_10000")
STAGE1, STAGE2 = (Path(f"outputs/runs/vovnet/seed0/stage{stage}") for stage in (1, 2))
LAYERS = ("configs/base.yaml", "configs/train_mmbench_llava_textvqa_vovnet_stage2.yaml")
LAMBDAS = [0, 0.01, 0.02, 0.05, 0.1]
PREPARED = {"mmbench/mmbench_dev": "mmbench/dev", "mmmu/mmmu_validation": "mmmu/validation"}
SETS = ["mmbench_dev", "mmmu_val", "textvqa_val"]


def base_layer() -> dict[str, Any]:
    """configs/base.yaml: the synthetic world under the names of the sets that it stands for."""
    renamed = json.loads(
        json.dumps(read_yaml(ROOT / "config/test.yaml")["data"])
        .replace("results/test/", "outputs/")
        .replace('"synth_', '"')
    )
    small = {
        "synthetic": {"num_eval_questions": 10, "num_train_questions": 16},
        "eval_sets": {"mmbench_dev": {"dataset": "mmbench", "split": "dev"}},
        "router_fit": [],
    }
    return {
        "results_dir": "outputs",
        "model": {"base_model_name": str(TINY_MODEL)},
        "data": renamed | small,
        "eval": {"max_new_tokens": 4, "bootstrap_samples": 50},
    }


def stage2_layer() -> dict[str, Any]:
    """configs/train_mmbench_llava_textvqa_vovnet_stage2.yaml: a recipe of a few steps."""
    return {
        "training": {
            "num_processes": PROCESSES,
            "batch_size": 8,
            "stage1_epochs": 0.5,
            "stage2_epochs": 0.7,
            "head_learning_rate": 0.1,  # a few steps must move the scores
            "checkpoint_format": "pt",
            "save_every": 2,
            "keep_checkpoints": 9,
            "calibration_samples": 4,
        }
    }


def head_of(words: list[str]) -> tuple[list[str], list[str]]:
    """(this project's program, the arguments as they stand) of one of the document's commands."""
    match words:
        case ["python", "-m", module, *arguments] if module.startswith("scripts."):
            return ["vovnet", module.removeprefix("scripts.")], arguments
        case ["torchrun", "--nproc_per_node", "8", "scripts/train_ddp.py", *arguments]:
            launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(PROCESSES)]
            return [sys.executable, "-m", *launch, "-m", "vovnet", "train"], arguments
    raise AssertionError(f"no program of this project stands for {shlex.join(words)}")


@dataclass
class Ran:
    """A command that ran, and the files that it wrote."""

    block: Block
    command: Command
    head: str
    written: set[Path]

    def flag(self, name: str) -> str:
        words = self.command.words
        return words[words.index(name) + 1]


@dataclass
class Walk:
    """The folder of the walk, the document's blocks, and what ran of them."""

    root: Path
    text: str
    blocks: list[Block]
    ran: list[Ran] = field(default_factory=list)

    def results(self, name: str, file: str = "results.csv") -> pd.DataFrame:
        return read_results(self.root / EVALUATED / name / file)

    def row(self, name: str) -> pd.Series:
        (row,) = self.results(name).to_dict("records")
        return pd.Series(row)

    def of(self, section: str, head: str = "") -> list[Ran]:
        return [item for item in self.ran if item.block.section == section and head in item.head]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Every block, one command after the other; the first that fails ends the walk."""
    document = shared(DOCUMENT)
    root = tmp_path_factory.mktemp("walk")
    walk = Walk(root, document.read_text(encoding="utf-8"), read_blocks(document))
    with contextlib.chdir(root):
        take_for_granted()
        for block in walk.blocks:
            for command in block.commands:
                before = files()
                head = run(command)
                written = {Path(name) for name, _ in files() - before}
                walk.ran.append(Ran(block, command, head, written))
                if head == "train":
                    kept = Path(TRAINED[block.section])
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(list_checkpoints(trained_folder(command))[-1][1], kept)
        yield walk


def trained_folder(command: Command) -> Path:
    """The folder of stage 2 that a training names in the last line of its log."""
    assert command.log is not None
    return Path(Path(command.log).read_text(encoding="utf-8").splitlines()[-1])


def take_for_granted() -> None:
    """Layers, prepared data and the folder of logs, as the document's commands expect them."""
    for folder in ("configs", "logs", "data/processed/mmbench", "data/processed/mmmu"):
        Path(folder).mkdir(parents=True)
    for layer in (ROOT / "config").glob("eval_*.yaml"):
        shutil.copy2(layer, "configs")
    for path, value in zip(LAYERS, (base_layer(), stage2_layer()), strict=True):
        Path(path).write_text(yaml.safe_dump(value), encoding="utf-8")
    for dataset, definition in base_layer()["data"]["datasets"].items():
        call("synthesize", "--config", LAYERS[0], "--dataset", dataset)
        for split in definition["files"]:
            call("prepare", "--config", LAYERS[0], "--dataset", dataset, "--split", split)
    # The preparation reads answers in the form of an earlier program.
    for target, source in PREPARED.items():
        lines = []
        for sample in read_samples(f"outputs/data/{source}.jsonl"):
            answer: Any = sample.answer
            if sample.choices:
                answer = {"label": sample.answer, "text": sample.choices[sample.answer]}
            lines.append(json.dumps({"id": sample.id, "answer": answer}) + "\n")
        Path(f"data/processed/{target}.jsonl").write_text("".join(lines), encoding="utf-8")


def call(*arguments: str) -> None:
    assert cli.main(arguments) == 0, shlex.join(arguments)


def run(command: Command) -> str:
    """Run a command in the foreground; returns the program that stands for the document's."""
    if command.is_shell:
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        }
        subprocess.run(["bash", "-e", "-c", command.foreground], check=True, env=environment)
        return "shell"
    program, arguments = head_of(command.words)
    assert command.log is not None
    with Path(command.log).open("w", encoding="utf-8") as log:
        if program[0] == "vovnet":
            with (
                mock.patch.dict(os.environ, command.variables),
                contextlib.redirect_stdout(log),
                contextlib.redirect_stderr(log),
            ):
                status = cli.main([program[1], *arguments])
        else:
            environment = os.environ | command.variables | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run([*program, *arguments], env=environment, stdout=log, stderr=log)
            status = done.returncode
    said = Path(command.log).read_text(encoding="utf-8")[-3000:]
    assert status == 0, f"{command.text}\n{said}"
    return program[-1]


def files() -> set[tuple[str, tuple[int, int]]]:
    """Every file with what changes when it is written again."""
    found = ((path, path.stat()) for path in Path().rglob("*") if path.is_file())
    return {(str(path), (stat.st_ino, stat.st_mtime_ns)) for path, stat in found}


# ---- that nothing was left out -----------------------------------------------------------


def test_every_block_ran(walk: Walk) -> None:
    """Blocks are counted by their fences, and commands by the words that start them."""
    lines = walk.text.splitlines()
    fences = [number for number, line in enumerate(lines, start=1) if line == OPENING]
    assert [block.line for block in walk.blocks] == fences
    assert list(dict.fromkeys(item.block.line for item in walk.ran)) == fences
    heads = [item.head for item in walk.ran]
    for head in ("eval", "oracle_action", *(f"pareto_{name}" for name in SWEEPS)):
        assert heads.count(head) == walk.text.count(f"python -m scripts.{head} \\") > 0
    assert heads.count("train") == walk.text.count("nohup torchrun ") > 0
    assert heads.count("shell") == walk.text.count("<<'") > 0
    sections = {block.section for block in walk.blocks}
    assert sections == {
        *("0", "A0", "A1", "A2", "B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "C1", "D1"),
        *("D2", "D3", "D4", "E1", "F1", "G1", "H1", "MVP"),
    }


def test_every_command_leaves_its_log(walk: Walk) -> None:
    programs = [item for item in walk.ran if not item.command.is_shell]
    for item in programs:
        assert item.command.log is not None and Path(item.command.log) in item.written
    logs = {name for name in walk.text.split() if name.startswith("logs/") and "<" not in name}
    assert {name for name in logs if name.endswith(".out")} == {
        str(path.relative_to(walk.root)) for path in (walk.root / "logs").iterdir()
    }


# ---- expected outputs --------------------------------------------------------------------

# Command -> (column of results.csv that it sweeps, its values in the document).
SWEEPS: dict[str, tuple[str, list[float]]] = {
    "threshold": ("threshold", [0.1, 0.2, 0.3, 0.4, 0.5]),
    "pruning": ("pruning_ratio", [1.0, 0.75, 0.5, 0.25]),
    "merge": ("merge_ratio", [0.25, 0.5, 0.75, 1.0]),
    "resolution": ("long_side", [224, 336, 448, 560]),
    "granularity": ("pool_factor", [1, 2, 4]),
}


def test_every_evaluation_leaves_its_outputs(walk: Walk) -> None:
    """results.csv and summary.json, and what each program adds; all of them written anew."""
    for item in walk.ran:
        if item.head in ("shell", "train"):
            continue
        names = {"results.csv", "summary.json"}
        if "--pareto" in item.command.words:
            names |= {"eval_matrix.csv", "eval_matrix.json"}
        if item.head.startswith("pareto_"):
            names |= {f"{item.head}.csv", f"{item.head}.json"}
        if item.head == "oracle_action":
            names |= {"analysis_oracle.json"}
        folder = Path(item.flag("--output_dir"))
        assert {folder / name for name in names} <= item.written, item.command.text
        results = read_results(walk.root / folder / "results.csv")
        assert list(results.columns) == list(result_columns(ACTIONS))
        assert results["num_samples"].min() > 0
        summary = json.loads((walk.root / folder / "summary.json").read_text())
        assert summary["seeds"] == [42 if "seed42" in str(folder) else 0]
        assert len(summary["config_hash"]) == 64
        assert hashes_of_inputs(walk.root, summary) == {CHECKPOINT, *summary["datasets"]}


def hashes_of_inputs(root: Path, summary: dict[str, Any]) -> set[str]:
    """What summary.json names by hash: the checkpoint, if it is that of the walk, and datasets."""
    if summary.get("mode") == "live":
        weights = {item["sha256"] for item in summary["checkpoints"]}
        sets = {name for name, digest in summary["datasets"].items() if len(digest) == 64}
    else:
        weights = {item["checkpoint_hash"] for item in summary["inputs"]}
        sets = {item["set"] for item in summary["inputs"] if item["datasets"][0]["dataset_hash"]}
    assert weights == {sha256_file(root / CHECKPOINT)}
    return {CHECKPOINT, *sets}


def test_0_answers_as_text(walk: Walk) -> None:
    """The script writes a backslash and an n between its lines; the texts are those we prepare."""
    for target, source in PREPARED.items():
        path = walk.root / f"data/processed/{target}_text.jsonl"
        written = [json.loads(line) for line in path.read_text().split("\\n") if line]
        samples = read_samples(walk.root / f"outputs/data/{source}.jsonl")
        found = [(line["id"], line["answer_text"]) for line in written]
        assert found == [(sample.id, sample.answer_text) for sample in samples]


@pytest.mark.parametrize("section", ["A0", "D2", "D3", "MVP"])
def test_training_leaves_checkpoints_and_logs(walk: Walk, section: str) -> None:
    """Every `training.save_every` steps; the log shows stage 1, then stage 2.

    An ablated recipe (D2, D3) leaves the main run's folder alone, and the minimal suite finds in it
    that its recipe is trained already.
    """
    (item,) = walk.of(section, "train")
    stage2 = trained_folder(item.command)
    assert (stage2 == STAGE2) == (section in {"A0", "MVP"})
    written = {path.relative_to(stage2) for path in item.written if path.is_relative_to(stage2)}
    wanted = {Path(name) for name in ("checkpoint-2.pt", "train_log.jsonl", "manifest.json")}
    assert not written if section == "MVP" else wanted <= written
    assert (STAGE1 / "train_log.jsonl" in item.written) == (section == "A0")
    for stage, folder in ((1, STAGE1), (2, stage2)):
        log = (walk.root / folder / "train_log.jsonl").read_text(encoding="utf-8")
        assert {json.loads(line)["stage"] for line in log.splitlines()} == {stage}


def test_g1_builds_the_tables(walk: Walk) -> None:
    (item,) = walk.of("G1")
    names = ("main_table.csv", "pareto.csv", "action_ratio.csv")
    assert {Path("outputs/plots") / name for name in names} <= item.written
    pareto, main, actions = (
        pd.read_csv(walk.root / "outputs/plots" / name) for name in (names[1], names[0], names[2])
    )
    policies = ["always_full", "always_coarse", "no_vision", "uncertainty_threshold"]
    policies += ["random_policy_matched", "vision_token_pruning_proxy"]
    assert main["baseline_name"].fillna("").tolist() == [""] * len(LAMBDAS) + policies
    pd.testing.assert_frame_equal(main, pareto)
    assert set(main["dataset"]) == {"mmbench_dev"}
    rates = actions[["action_rate_no", "action_rate_coarse", "action_rate_full"]].dropna()
    assert len(rates) == len(main) - 1  # pruning chooses no action
    assert rates.sum(axis=1).tolist() == pytest.approx([1] * len(rates))


@pytest.mark.parametrize(
    ("section", "name", "key", "value"),
    [
        ("D1", "ablate_feature_hidden_entropy", "feature_mode", "hidden_entropy"),
        ("D2", "ablate_soft_mixture", "use_straight_through", False),
        ("D3", "ablate_lambda0", "lambda_cost", 0.0),
        ("D4", "ablate_binary_actions", "action_space", "binary"),
    ],
)
def test_ablations_are_layers(walk: Walk, section: str, name: str, key: str, value: Any) -> None:
    assert any(Path(f"configs/{name}.yaml") in item.written for item in walk.of(section, "shell"))
    settings = load([walk.root / path for path in (*LAYERS, f"configs/{name}.yaml")])
    assert getattr(settings.policy, key) == value


# ---- sanity checks -----------------------------------------------------------------------


def never_rises(values: pd.Series) -> bool:
    return bool((values.diff().dropna() <= 1e-9).all())


def test_a1_cost_falls_with_lambda(walk: Walk, tmp_path: Path) -> None:
    """A model of a few steps may take one action at all the document's values."""
    rows = walk.results("mmbench_dev_pareto")
    assert rows["lambda_cost"].tolist() == LAMBDAS
    assert never_rises(rows["avg_cost"]) and never_rises(rows["action_rate_full"])
    assert never_rises(-rows["action_rate_no"])
    a1_with_other_words(walk, "--pareto 0 0.01 0.02 0.05 0.1", "--pareto 0 1e6", tmp_path)
    costs = read_results(tmp_path / "results.csv")["avg_cost"]
    assert costs[0] == rows["avg_cost"][0] >= costs[1] == 0


def test_mvp_repeats_points_of_a1(walk: Walk) -> None:
    rows, mvp = walk.results("mmbench_dev_pareto"), walk.results("mmbench_dev_pareto_mvp")
    same = rows[rows["lambda_cost"].isin([0, 0.05, 0.1])].reset_index(drop=True)
    pd.testing.assert_frame_equal(mvp, same)


def test_a2_the_seed_is_said(walk: Walk) -> None:
    rows = walk.results("mmbench_dev_pareto_seed42")
    assert set(rows["seed"]) == {42}
    assert rows["lambda_cost"].tolist() == [0.02, 0.05, 0.1]


FIXED = {"always_full": [0, 0, 1], "always_coarse": [0, 1, 0], "no_vision": [1, 0, 0]}
RATES = ["action_rate_no", "action_rate_coarse", "action_rate_full"]


def test_b1_fixed_policies(walk: Walk) -> None:
    for name, rates in FIXED.items():
        for suffix in ("", "_mvp") if name != "always_coarse" else ("",):
            row = walk.row(f"mmbench_dev_{name}{suffix}")
            assert row["baseline_name"] == name
            assert row[RATES].tolist() == rates
    full, coarse, none = (walk.row(f"mmbench_dev_{name}")["avg_cost"] for name in FIXED)
    assert full > coarse > none == 0


def test_b2_a_lower_threshold_looks_more(walk: Walk) -> None:
    rows = walk.results("mmbench_dev_uncertainty")
    assert (rows["avg_cost"].diff().dropna() <= 0).all()
    assert (rows["action_rate_full"].diff().dropna() <= 0).all()
    single = walk.row("mmbench_dev_uncertainty_t0_50")
    assert single["threshold"] == 0.5
    assert single["avg_cost"] == rows["avg_cost"].iloc[-1]


def test_b3_random_follows_its_target(walk: Walk) -> None:
    """Within what chance allows on so few questions; the target is VoVNet's at 0.05."""
    layer = read_yaml(walk.root / "configs/baseline_random_matched.yaml")["policy"]
    rows = walk.results("mmbench_dev_pareto")
    (target,) = rows[rows["lambda_cost"] == 0.05][RATES].values.tolist()
    assert layer["baseline_target_ratios"] == pytest.approx(target, abs=1e-5)
    row = walk.row("mmbench_dev_random_matched")
    assert row["baseline_name"] == "random_policy_matched"
    gaps = abs(row[RATES].astype(float).to_numpy() - target)
    assert gaps.max() <= 2 / row["num_samples"] ** 0.5


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_take_the_values_of_the_document(walk: Walk, name: str) -> None:
    column, values = SWEEPS[name]
    folder = "uncertainty" if name == "threshold" else name
    rows = walk.results(f"mmbench_dev_{folder}", f"pareto_{name}.csv")
    assert rows[column].tolist() == values


def test_b4_to_b7_tokens_follow_the_reduction(walk: Walk) -> None:
    full = walk.row("mmbench_dev_always_full")["avg_vision_tokens"]
    for name, column in (("pruning", "pruning_ratio"), ("merge", "merge_ratio")):
        rows = walk.results(f"mmbench_dev_{name}")
        left = rows["avg_vision_tokens"] / full
        assert left.tolist() == pytest.approx(rows[column].tolist(), abs=0.05)
    # Images never grow: at every size of the document those of the small world stay as they are.
    assert (walk.results("mmbench_dev_resolution")["avg_vision_tokens"] >= full).all()
    pooled = walk.results("mmbench_dev_granularity").set_index("pool_factor")["avg_vision_tokens"]
    assert pooled[1] == full > pooled[2] > pooled[4] >= 1
    half = walk.row("mmbench_dev_pruning_ratio_050")
    pruning = walk.results("mmbench_dev_pruning").set_index("pruning_ratio")
    assert half["avg_vision_tokens"] == pruning.loc[0.5, "avg_vision_tokens"]


def test_c1_every_benchmark(walk: Walk) -> None:
    assert walk.results("generalization_text")["dataset"].tolist() == SETS


def test_e1_fallback_leaves_no_unsure_no(walk: Walk) -> None:
    """Shares move from NO toward FULL by the rate of triggering, which is a column."""
    row = walk.row("mmbench_dev_fallback_full")
    policy = load([walk.root / path for path in LAYERS]).policy
    rows = walk.results("mmbench_dev_pareto").set_index("lambda_cost")
    before = rows.loc[policy.lambda_cost]
    moved = row["fallback_trigger_rate"]
    assert moved > 0
    assert row["action_rate_no"] == pytest.approx(before["action_rate_no"] - moved)
    assert row["action_rate_full"] == pytest.approx(before["action_rate_full"] + moved)
    assert row["avg_cost"] > before["avg_cost"]


@pytest.mark.parametrize("name", ["vovnet", "always_full", "always_coarse"])
def test_f1_profiles(walk: Walk, name: str) -> None:
    """Memory is measured on GPUs alone; on the CPU its columns are there and empty."""
    row = walk.row(f"profile_{name}")
    assert 0 < row["latency_p50_ms"] <= row["latency_p90_ms"]
    assert {"mem_peak_p50_mb", "mem_peak_p90_mb"} <= set(row.index)
    summary = json.loads((walk.root / EVALUATED / f"profile_{name}/summary.json").read_text())
    assert "tokens_s" in json.dumps(summary["profile"])


def test_h1_the_oracle_is_a_bound(walk: Walk) -> None:
    path = walk.root / EVALUATED / "oracle_action/analysis_oracle.json"
    (found,) = json.loads(path.read_text()).values()
    assert found["oracle_accuracy"] >= found["vovnet_accuracy"]


# ---- what the document says beside its blocks --------------------------------------------


def a1_with_other_words(walk: Walk, old: str, new: str, output: Path) -> None:
    """Run block A1 again with another output folder and some words changed."""
    (item,) = walk.of("A1")
    text = item.command.text.replace(item.flag("--output_dir"), str(output))
    assert old in text
    with contextlib.chdir(walk.root):
        run(Command(text.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "dataset"),
    [
        # B8: "append ... if you only want 200 samples"; "for lenient scoring, replace ..."
        (" > ", " --config configs/eval_quick_200.yaml > ", "mmbench_dev"),
        ("eval_mmbench_dev_text.yaml", "eval_mmbench_dev_text_fuzzy.yaml", "mmbench_dev_fuzzy"),
        ("eval_mmbench_dev_text.yaml", "eval_mmmu_text.yaml", "mmmu_val"),
        ("eval_mmbench_dev_text.yaml", "eval_textvqa.yaml", "textvqa_val"),
        # D2, D3: "evaluate with scripts/eval.py (see A1), using the ablated checkpoint"
        (CHECKPOINT, TRAINED["D2"], "mmbench_dev"),
        (CHECKPOINT, TRAINED["D3"], "mmbench_dev"),
    ],
)
def test_a1_in_the_variants_of_the_document(
    walk: Walk, tmp_path: Path, old: str, new: str, dataset: str
) -> None:
    a1_with_other_words(walk, old, new, tmp_path)
    assert set(read_results(tmp_path / "results.csv")["dataset"]) == {dataset}

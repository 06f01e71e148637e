"""How evaluation and reports grow with a suite, on made-up observations of any size.

    python workflow/bench_growth.py --sets 16 --seeds 5 --experiments 30 --questions 10000 20000

prints wall time, CPU time and peak memory of each step, and between the smallest and the largest
number of questions the exponent of its CPU time, of which 1 is linear growth. Each step has a
process of its own, and `evaluate` one for all experiments. Files are written below a temporary
folder and removed.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from vovnet.config import Settings, load, yaml_text  # noqa: E402
from vovnet.core.files import parse_json, sha256_file, write_json, write_text  # noqa: E402
from vovnet.core.layout import ROUTER_FIT, Layout  # noqa: E402
from vovnet.core.records import (  # noqa: E402
    OBSERVATION_COLUMNS,
    ImageRef,
    Sample,
    signal_columns,
    write_states,
    write_table,
)
from vovnet.data.samples import write_samples  # noqa: E402
from workflow.bench_prepare import peak_mib  # noqa: E402

STEPS = ("evaluate", "hull_metrics", "tables", "figures", "sanity")
ACTIONS = {"no": 0, "coarse": 256, "full": 1024}
"""Each action and its vision tokens."""

OPTIONS = {"A": "red", "B": "green", "C": "blue", "D": "yellow"}
LAMBDAS = [0, 0.01, 0.02, 0.05, 0.1, 0.2]
THRESHOLDS = [0.2, 0.4, 0.6, 0.8, 1.0, 1.2]
NUM_CATEGORIES, STATE_SIZE, ROUTER_ROWS = 50, 64, 1500


@dataclass(frozen=True)
class Size:
    """How large a suite is; `questions` are those of each set."""

    sets: int
    seeds: int
    experiments: int
    questions: int


# ---- what is made up -------------------------------------------------------------------


def configuration(size: Size, folder: Path) -> dict[str, Any]:
    names = [f"set{number:02}" for number in range(size.sets)]
    split = {"format": "mmbench", "root": "raw", "files": {"dev": "dev.tsv"}}
    return {
        "results_dir": str(folder),
        "standalone": True,
        "data": {
            "datasets": dict.fromkeys([*names, "training"], split),
            "eval_sets": {name: {"dataset": name, "split": "dev"} for name in names},
            "router_fit": [{"dataset": "training", "split": "dev"}],
        },
        "seeds": list(range(size.seeds)),
        "policy": {"cost_scale": 0.01},
        "experiments": experiments(size.experiments),
    }


def experiments(count: int) -> dict[str, Any]:
    """The first of these: VoVNet, what it is compared with, then thresholds over and over."""
    swept = {"lambda_cost": LAMBDAS}
    fixed = {
        name: {"baseline_name": name} for name in ("no_vision", "always_coarse", "always_full")
    }
    found: dict[str, Any] = {
        "vovnet": {"title": "VoVNet", "role": "vovnet", "sweep": swept},
        **{name: {"title": name, "role": "fixed", "policy": told} for name, told in fixed.items()},
    }
    for name in ("oracle", "bayes_router"):
        found[name] = {"title": name, "role": "reference", "policy": {"baseline_name": name}}
    found["bayes_router"]["sweep"] = swept
    for number in range(count - len(found)):
        policy = {
            "baseline_name": "uncertainty_threshold",
            "baseline_uncertainty": ("entropy", "margin")[number % 2],
            "baseline_vision": ("full", "coarse")[number // 2 % 2],
        }
        sweep = {"baseline_threshold": THRESHOLDS}
        found[f"threshold{number}"] = {"title": f"t {number}", "policy": policy, "sweep": sweep}
    return dict(list(found.items())[:count])


def fabricate(size: Size, folder: Path) -> Path:
    """Write what a suite would have prepared, trained and observed; returns its configuration."""
    path = folder / "config.yaml"
    write_text(path, yaml_text(configuration(size, folder / "results")))
    settings = load([path])
    for number, name in enumerate([*settings.data.eval_sets, ROUTER_FIT]):
        _write_set(settings, number, name, ROUTER_ROWS if name == ROUTER_FIT else size.questions)
    for seed in settings.seeds:
        _write_training(settings.layout, seed)
    counts = {kind: {"count": 0, "examples": []} for kind in ("question", "image", "id")}
    sets = dict.fromkeys(settings.data.eval_sets, counts)
    write_json(settings.layout.leakage_report, {"fail_on": ["id"], "train": [1], "sets": sets})
    return path


def _write_set(settings: Settings, number: int, name: str, count: int) -> None:
    """A set's questions, and what the model of each seed says to them under each action."""
    layout, rng = settings.layout, np.random.default_rng(number)
    dataset = "training" if name == ROUTER_FIT else name
    answers = rng.choice(list(OPTIONS), size=count)
    needs_N, told_N = rng.choice(len(ACTIONS), size=count), rng.integers(NUM_CATEGORIES, size=count)
    samples = (
        Sample(
            id=f"q{row}",
            dataset=dataset,
            split="dev",
            question_type="multiple-choice",
            question=f"What colour is object {row % 5000} beside object {row % 377}?",
            images=[
                ImageRef(path="images/a.png", width=900, height=600, sha256=f"{row // 3:064x}")
            ],
            choices=OPTIONS,
            answer=str(answers[row]),
            answer_text=OPTIONS[str(answers[row])],
            category=f"{needs_N[row]} of kind {told_N[row]}",
        )
        for row in range(count)
    )
    write_samples(layout.samples(dataset, "dev"), samples)
    write_json(layout.data_manifest(dataset, "dev"), {"step": "prepare"})
    gold_N = np.searchsorted(list(OPTIONS), answers)
    ids = [f"training/dev/q{row}" if name == ROUTER_FIT else f"q{row}" for row in range(count)]
    for seed in settings.seeds:
        _write_observation(settings, seed, name, ids, needs_N, gold_N)


def _write_observation(
    settings: Settings, seed: int, name: str, ids: list[str], needs_N: Any, gold_N: Any
) -> None:
    from vovnet.pipeline.keys import step_key

    layout, rng, count = settings.layout, np.random.default_rng(seed), len(ids)
    folder, tokens_A = layout.observations("vovnet", seed, name), np.array(list(ACTIONS.values()))
    cues_N = needs_N + rng.normal(0, 0.5, count)
    entropy_N = np.abs(0.4 + 0.3 * needs_N + rng.normal(0, 0.2, count))
    signals: dict[str, Any] = {"id": ids, "entropy": entropy_N, "margin": np.exp(-entropy_N)}
    for action, view in enumerate(ACTIONS):
        signals[f"score_{view}"] = -np.log1p(np.exp(4 * (cues_N - action - 0.5)))
        signals[f"tokens_{view}"] = tokens_A[action]
    signals |= {"text_tokens": 40, "flops_text_pass": 40_000_000}
    write_table(folder / "signals.parquet", pd.DataFrame(signals), signal_columns([*ACTIONS]))
    states_NF = rng.normal(size=(count, STATE_SIZE)) + cues_N[:, None]
    write_states(folder / "states.parquet", ids, states_NF.astype(np.float16))
    texts = np.array(list(OPTIONS.values()), dtype=object)
    for action, view in enumerate(ACTIONS):
        wrong_N = (needs_N > action) | (rng.random(count) < 0.05)
        tokens = int(tokens_A[action])
        rows = {
            **{"id": ids, "text": texts[(gold_N + wrong_N) % len(OPTIONS)]},
            **{"vision_tokens": tokens, "prompt_tokens": 40 + tokens, "generated_tokens": 1},
            **{"entropy": entropy_N / 2, "margin": 0.9, "log_probability": -entropy_N / 2},
            **{"flops_vision_tower": 1e6 * tokens, "flops_language_model": 1e6 * (4 + tokens)},
            "flops_language_model_alone": 1e6 * (44 + tokens),
        }
        write_table(folder / f"{view}.parquet", pd.DataFrame(rows), OBSERVATION_COLUMNS)
    tables = {path.stem: path for path in sorted(folder.glob("*.parquet"))}
    key = step_key(settings, "observe", run="vovnet", seed=seed, eval_set=name)
    manifest = {
        **{"config_hash": "made up", "source_digest": "made up", "device": "cpu"},
        "key": key | {"checkpoint": f"seed {seed}", "samples": name},
        "outputs": {
            view: {"path": str(path), "sha256": sha256_file(path)} for view, path in tables.items()
        },
    }
    write_json(layout.observation_manifest("vovnet", seed, name, "actions"), manifest)


def _write_training(layout: Layout, seed: int) -> None:
    for stage in (1, 2):
        shares = {f"action_share_{view}": 1 / 3 for view in ACTIONS} if stage == 2 else {}
        lines = [
            {"step": step, "stage": stage, "loss": 1 / step, "learning_rate": 1e-3} | shares
            for step in range(1, 51)
        ]
        text = "".join(json.dumps(line | {"expected_cost": 400.0}) + "\n" for line in lines)
        write_text(layout.stage("vovnet", seed, stage) / "train_log.jsonl", text)
    bins = [{"predicted": x, "measured": x, "count": 10} for x in (0.0, 1.0)]
    pairs = {pair: {"ece": 0.0, "slope": 1.0, "bins": bins} for pair in ("coarse-no", "full-no")}
    write_json(layout.stage("vovnet", seed, 2) / "calibration.json", {"pairs": pairs})


# ---- what is measured ------------------------------------------------------------------


def run_step(step: str, config: Path) -> None:
    """One step of a suite, in this process."""
    from vovnet.cli import main as command

    names = load([config]).experiments if step == "evaluate" else [None]
    for name in names:
        chosen = ["--experiment", name] if name is not None else []
        status = command([step, "--config", str(config), *chosen])
        if status:
            raise SystemExit(status)


def measure(step: str, config: Path) -> None:
    """Run a step and print what it cost; called in a process of its own."""
    began = time.perf_counter()
    run_step(step, config)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(item.ru_utime + item.ru_stime for item in used)
    print(json.dumps([time.perf_counter() - began, cpu_s, peak_mib()]))


def costs(size: Size, steps: Sequence[str]) -> dict[str, float]:
    """The CPU seconds of each step, which are printed with its time and memory."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        config = fabricate(size, Path(folder))
        for step in steps:
            command = [sys.executable, __file__, "--measure", step, str(config)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            wall_s, cpu_s, peak = parse_json(done.stdout.splitlines()[-1])
            found[step] = cpu_s
            print(
                f"{size.questions:>7} questions  {step:13} {wall_s:8.1f} s  {cpu_s:8.1f} s of CPU"
                f"  {peak:7.0f} MiB",
                flush=True,
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how a suite's evaluation grows.")
    parser.add_argument("--sets", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--experiments", type=int, default=30)
    parser.add_argument("--questions", type=int, nargs="+", default=[1000, 2000])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure[0], Path(args.measure[1]))
        return
    sizes = sorted({*args.questions})
    found = [
        costs(Size(args.sets, args.seeds, args.experiments, count), args.steps) for count in sizes
    ]
    for count, item in zip(sizes, found, strict=True):
        print(f"{count:>7} questions  {'all':13} {sum(item.values()) / 60:8.1f} minutes of CPU")
    if len(sizes) > 1:
        for step in args.steps:
            ratio = math.log(found[-1][step] / found[0][step]) / math.log(sizes[-1] / sizes[0])
            print(f"exponent of {step}: {ratio:.2f}")


if __name__ == "__main__":
    main()

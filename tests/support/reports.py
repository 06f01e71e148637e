"""A suite's results in a folder: replayed for real, with made-up training logs and live profiles.

The model's need for vision is known (see `support.replays`), and so is what reports must show.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from support.replays import tokens_of, write_reduced, write_world
from vovnet.config import Settings, merge, validate
from vovnet.core.files import read_json, write_json, write_text
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.records import read_table, write_table
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS, read_results, write_results
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.evaluation.live_columns import LIVE_COLUMNS
from vovnet.evaluation.match import write_matched
from vovnet.pipeline.keys import step_key
from vovnet.policies.experiments import experiment_views
from vovnet.views import DEFAULT_ACTIONS

LIVE = "live_vovnet"
SIDES = [32, 112]
SWEEP = [0.0, 0.01, 0.02, 0.05, 0.1]
PROFILE = {"text_pass": 1.5, "decision": 0.1, "image_loading": 0.4, "preprocessing": 0.3}
PROFILE |= {"vision_encoding": 0.7, "prefill": 0.5, "generation": 6.0}
"""The parts of an answer in ms, 9.5 in all."""


def experiments(actions: Sequence[str]) -> dict[str, Any]:
    """What `support.replays` does not have: thresholds for each action, and a live experiment."""
    thresholds = {
        f"margin_{action}": {
            "title": f"Margin < t ({action})",
            "policy": {
                "baseline_name": "uncertainty_threshold",
                "baseline_uncertainty": "margin",
                "baseline_vision": action,
            },
            "sweep": {"baseline_threshold": [0.2, 0.4, 0.6, 0.8]},
        }
        for action in actions[1:]
    }
    live = {"title": "VoVNet", "role": "vovnet", "mode": "live", "seeds": [0], "max_samples": 20}
    resolution = {
        "title": "Resolution",
        "policy": {"baseline_name": "resolution_scaling_proxy"},
        "sweep": {"baseline_long_side": SIDES},
    }
    swept = {"sweep": {"lambda_cost": SWEEP}}
    return thresholds | {"vovnet": swept, "resolution": resolution, LIVE: live}


def write_suite(
    root: Path,
    sets: dict[str, tuple[float, ...]],
    seeds: Sequence[int],
    count: int,
    overrides: dict[str, Any] | None = None,
) -> tuple[Settings, Layout]:
    """Write every file that reports read; `actions` in `overrides` changes the list of actions."""
    actions = (overrides or {}).get("actions", DEFAULT_ACTIONS)
    change = merge({"experiments": experiments(actions)}, overrides or {})
    change["experiments"]["random"] = {"match": {"lambda_costs": SWEEP}}
    settings, layout = write_world(root, sets, list(seeds), count, change)
    for seed in seeds:
        for name in sets:
            write_reduced(layout, seed, name, {f"side-{side}": side / 128 for side in SIDES})
    for name, item in settings.experiments.items():
        if item.mode == "live":
            write_live(settings, layout, name)
            continue
        if item.match:
            write_matched(settings, layout, name)
        evaluate_experiment(settings, layout, name)
    write_keys(settings, layout)
    hull_metrics(settings, layout)
    for seed in seeds:
        write_training(layout, seed, actions)
    nothing = {kind: {"count": 0, "examples": []} for kind in ("question", "image", "id")}
    mix = [{"dataset": "world", "split": "train", "max_samples": None}]
    report = {"fail_on": ["image", "id"], "train": mix, "sets": dict.fromkeys(sets, nothing)}
    write_json(layout.leakage_report, report)
    return settings, layout


def write_keys(settings: Settings, layout: Layout) -> None:
    """Results of the present configuration and code, observed on the CPU."""
    for seed in settings.seeds:
        for name in [*settings.data.eval_sets, ROUTER_FIT]:
            path = layout.observation_manifest("vovnet", seed, name, "actions")
            key = step_key(settings, "observe", run="vovnet", seed=seed, eval_set=name)
            manifest = read_json(path)
            write_json(path, manifest | {"device": "cpu", "key": manifest["key"] | key})
    for name, item in settings.experiments.items():
        path = layout.eval(name) / "summary.json"
        key = step_key(settings, "evaluate", experiment=name)
        write_json(path, read_json(path) | {"key": key})
        if item.mode == "live":
            views = experiment_views(settings, name)
            key = step_key(settings, "live", views, experiment=name)
            facts = {"key": key, "cache_reuse": True, "alone": True}
            write_json(layout.live_facts(name), facts)


def write_live(settings: Settings, layout: Layout, name: str) -> None:
    """Results of a live experiment: those of its replay, with timings.

    Of each question 9.5 ms, and a millisecond more for each vision token.
    """
    replayed = {"experiments": {name: {"mode": "replay"}}}
    evaluate_experiment(validate(merge(settings.model_dump(), replayed), "test"), layout, name)
    folder = layout.eval(name)
    samples = read_table(folder / "samples.parquet", SAMPLE_RESULT_COLUMNS)
    told = samples.rename(columns={"prediction": "text"}).assign(
        cache_reuse=True, token_ids=[[1]] * len(samples), generated_tokens=1, memory_mb=np.nan
    )
    told = told.assign(**{f"{part}_ms": value for part, value in PROFILE.items()})
    told["prefill_ms"] += told["vision_tokens"]
    write_table(layout.live_table(name), told, LIVE_COLUMNS)
    rows = read_results(folder / "results.csv").assign(latency_ms=9.5, latency_p50_ms=9.0)
    write_results(folder / "results.csv", rows.to_dict("records"), settings.actions)
    compared = {"num_different": 0, "latency_ratio": 0.85}
    compared |= {"latency_ratio_lo": 0.8, "latency_ratio_hi": 0.9}
    facts = {"seed": 0, "point": 0, "num_samples": 20, "tokens_s": 210.5, "parts_ms": PROFILE}
    facts |= {"latency_p50_ms": 9.0, "latency_p90_ms": 12.25, "cache_reuse_comparison": compared}
    facts |= {"time_shares": {part: value / 9.5 for part, value in PROFILE.items()}}
    profile = [{"dataset": dataset} | facts for dataset in settings.data.eval_sets]
    summary = {"profile": profile, "device": "cpu", "alone": True, "outputs": {}}
    write_json(folder / "summary.json", read_json(folder / "summary.json") | summary)


def write_training(layout: Layout, seed: int, actions: Sequence[str]) -> None:
    """The logs of both stages, the names of checkpoints, and a calibration."""
    rng = np.random.default_rng(seed)
    for stage in (1, 2):
        folder = layout.stage("vovnet", seed, stage)
        lines = []
        for step in range(1, 201):
            loss = (2.5 if stage == 1 else 0.9) * np.exp(-3 * step / 200) + rng.normal(0.3, 0.1)
            line = {"step": step, "stage": stage, "learning_rate": 1e-3, "loss": float(loss)}
            line |= {"samples_per_s": 30 / stage, "tokens_per_s_and_device": 9000 / stage}
            line |= {"tflops_per_s_and_device": 330 / stage, "mfu": 0.5 / stage}
            if stage == 2:
                shares_A = rng.dirichlet(np.linspace(20, 60, len(actions)))
                for action, share in zip(actions, shares_A, strict=True):
                    line[f"action_share_{action}"] = float(share)
                line["expected_cost"] = float(shares_A @ tokens_of(actions))
            lines.append(json.dumps(line))
        torn = '{"step": 201, "sta' if seed == 1 else ""
        write_text(folder / "train_log.jsonl", "\n".join(lines) + "\n" + torn)
        for step in (150, 200):
            (folder / f"checkpoint-{step}").mkdir()
    places = [
        {"predicted": x, "measured": 0.9 * x + float(rng.normal(0, 0.1)), "count": 40 - 4 * index}
        for index, x in enumerate(np.linspace(-0.5, 2.0, 8).tolist())
    ]
    pairs = {
        f"{dear}-{cheap}": {"ece": 0.08, "slope": 0.93, "bins": places}
        for place, dear in enumerate(actions)
        for cheap in actions[:place]
    }
    write_json(layout.stage("vovnet", seed, 2) / "calibration.json", {"pairs": pairs})

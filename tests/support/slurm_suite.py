"""config/test.yaml made small enough to be run on a Slurm of two cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from support.projects import keep_experiments
from vovnet.config import merge, read_yaml

KEPT = (
    "pareto_vovnet",
    "always_full",
    "always_coarse",
    "no_vision",
    "random_matched",
    "profile_vovnet",
)
"""One experiment of each kind of job: scored, matched, live."""

KEPT_SETS = ("synth_mmbench", "synth_textvqa")

NUM_PROCESSES = 2
"""Of a training; each has a device."""

SMALL: dict[str, Any] = {
    "data": {"synthetic": {"num_eval_questions": 8, "num_train_questions": 16}, "router_fit": []},
    "training": {"batch_size": 4, "calibration_samples": 4, "num_processes": NUM_PROCESSES},
    "eval": {"num_shards": 4, "shard_rows": 4, "bootstrap_samples": 50},
    "seeds": [0],
    "resources": {
        "train": {"gpu": NUM_PROCESSES, "threads": 2, "mem_mb": 3000, "runtime_min": 30},
        "observe": {"gpu": 1, "mem_mb": 3000, "runtime_min": 30},
        "light": {"mem_mb": 1500, "runtime_min": 20},
    },
}
"""A run has two sets of four shards: eight jobs of one GPU."""


def write_small_suite(path: Path) -> None:
    """Cut the configuration at `path` down."""
    value = merge(read_yaml(path), SMALL)
    sets = value["data"]["eval_sets"]
    value["data"]["eval_sets"] = {name: sets[name] for name in KEPT_SETS}
    value["data"]["train"] = [
        part for part in value["data"]["train"] if part["dataset"] in KEPT_SETS
    ]
    value["runs"] = {"vovnet": value["runs"]["vovnet"]}
    keep_experiments(value, KEPT)
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")

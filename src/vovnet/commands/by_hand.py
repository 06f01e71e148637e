"""What the specification's commands by hand share: one checkpoint, one folder of results.

They run the same observation and evaluation as the DAG. Observations of a checkpoint are
kept under the results folder, so a second command on it runs no model.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.commands.common import add_config_arguments
from vovnet.config import Settings, load, merge, read_yaml, validate
from vovnet.errors import CheckpointError
from vovnet.files import sha256_file
from vovnet.layout import Layout

RUN = "checkpoint"
EXPERIMENT = "by_hand"


@dataclass(frozen=True)
class CheckpointLayout(Layout):
    """A layout whose only trained model is `checkpoint` and whose results go to `output_dir`."""

    checkpoint: Path
    output_dir: Path

    def stage(self, run: str, seed: int | str, stage: int) -> Path:
        return self.checkpoint

    def observations(self, run: str, seed: int | str, eval_set: str) -> Path:
        return super().observations(f"checkpoint-{_digest(self.checkpoint)[:12]}", seed, eval_set)

    def eval(self, experiment: str) -> Path:
        return self.output_dir


def add_arguments(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """`--config`, `--dataset_config`, `--checkpoint`, `--output_dir`, `--max_samples`."""
    add_config_arguments(parser)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=required,
        metavar="PATH",
        help="a stage folder, an accelerate state folder, or a .pt file",
    )
    parser.add_argument("--output_dir", type=Path, required=required, help="where results go")
    parser.add_argument(
        "--max_samples", type=int, metavar="N", help="use the first N questions of each dataset"
    )


def add_output_prefix(parser: argparse.ArgumentParser) -> None:
    """`--output_prefix` of the sweep and analysis commands."""
    parser.add_argument(
        "--output_prefix",
        default="results",
        metavar="NAME",
        help="name of the common results table, <NAME>.csv beside summary.json",
    )


def evaluate_checkpoint(
    args: argparse.Namespace, policy: dict[str, Any], sweep: dict[str, list[Any]]
) -> tuple[Settings, CheckpointLayout]:
    """Observe the checkpoint where that is not done yet, then evaluate a policy or a sweep."""
    from vovnet.evaluate import evaluate_experiment

    settings = checkpoint_settings(args, policy, sweep)
    layout = CheckpointLayout(Path(settings.results_dir), args.checkpoint, args.output_dir)
    if settings.eval.profile:
        _profile(settings, layout)
        return settings, layout
    observe_missing(settings, layout)
    evaluate_experiment(settings, layout, EXPERIMENT)
    return settings, layout


def checkpoint_settings(
    args: argparse.Namespace, policy: dict[str, Any], sweep: dict[str, list[Any]]
) -> Settings:
    """The settings with one run and one experiment: this checkpoint, under this policy.

    With `--dataset_config`, the evaluation sets that those files name are evaluated and no
    others.
    """
    paths = [*args.config, *args.dataset_config]
    settings = load(paths)
    named = [
        name
        for path in args.dataset_config
        for name in (read_yaml(path).get("data") or {}).get("eval_sets") or {}
    ]
    caps = [args.max_samples, settings.eval.max_samples]
    sets = {
        name: chosen.model_dump()
        | {"max_samples": min((cap for cap in [*caps, chosen.max_samples] if cap), default=None)}
        for name, chosen in settings.data.eval_sets.items()
        if not named or name in named
    }
    value = settings.model_dump()
    value["data"]["eval_sets"] = sets
    experiment = {"title": RUN, "run": RUN, "policy": policy, "sweep": sweep, "role": "vovnet"}
    experiment["mode"] = "live" if settings.eval.profile else "replay"
    overrides = {
        "seeds": [settings.training.seed],
        "eval": {"num_shards": 1},
    }
    whole = {"runs": {RUN: {}}, "experiments": {EXPERIMENT: experiment}, "targets": {}}
    return validate(merge(value, overrides) | whole, " + ".join(map(str, paths)))


def _profile(settings: Settings, layout: Layout) -> None:
    """Run the policy live: the same results, with latency and memory measured."""
    from vovnet.live import live_experiment
    from vovnet.progress import progress

    with progress("answering") as on_sample:
        live_experiment(settings, layout, EXPERIMENT, on_sample)


def observe_missing(settings: Settings, layout: Layout) -> None:
    """Observe the checkpoint on every evaluation set; what is there already is kept."""
    from vovnet.blocks import gather
    from vovnet.observe import observe_shard
    from vovnet.progress import progress

    seed = settings.seeds[0]
    for name in settings.data.eval_sets:
        with progress(f"observing {name}") as on_block:
            observe_shard(settings, layout, RUN, seed, name, 0, 1, on_block)
        gather(settings, layout, RUN, seed, name)


def _digest(checkpoint: Path) -> str:
    """Hash of a checkpoint's weights, found without torch."""
    path = checkpoint / "model.safetensors" if checkpoint.is_dir() else checkpoint
    if not path.exists():
        raise CheckpointError(f"{checkpoint}: no checkpoint there, expected {path.name}")
    return sha256_file(path)


def rename_results(args: argparse.Namespace) -> None:
    """Give results.csv the name that `--output_prefix` asks for."""
    if args.output_prefix != "results":
        (args.output_dir / "results.csv").replace(args.output_dir / f"{args.output_prefix}.csv")

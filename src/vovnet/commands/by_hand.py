"""What the specification's commands by hand share: one checkpoint, one folder of results.

They run the same observation and evaluation as the DAG. Observations of a checkpoint are
kept under the results folder, so a second command on it runs no model.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vovnet.commands.common import add_config_arguments, count
from vovnet.commands.parallel import device_list, run_on_devices
from vovnet.config import Settings, load, merge, read_yaml, validate
from vovnet.config.experiments import experiment_sets
from vovnet.core.errors import CheckpointError, ConfigError
from vovnet.core.files import sha256_file
from vovnet.core.layout import ROUTER_FIT, Layout

RUN = "checkpoint"
EXPERIMENT = "by_hand"


@dataclass(frozen=True)
class CheckpointLayout(Layout):
    """A layout whose only trained model is `checkpoint` and whose results go to `output_dir`.

    `observed` names the run under which each set is observed.
    """

    checkpoint: Path
    output_dir: Path
    observed: Mapping[str, str]

    def stage(self, run: str, seed: int | str, stage: int) -> Path:
        return self.checkpoint

    def observations(self, run: str, seed: int | str, eval_set: str) -> Path:
        return super().observations(self.observed[eval_set], seed, eval_set)

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
        "--max_samples", type=count, metavar="N", help="use the first N questions of each dataset"
    )
    parser.add_argument(
        "--parallel",
        action="store_true",
        help="observe in parallel processes, one for each device of --gpus",
    )
    parser.add_argument(
        "--gpus",
        type=device_list,
        metavar="I,J,...",
        help="numbers of the devices that --parallel uses, as in 0,1,2",
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
    from vovnet.evaluation.experiment import evaluate_experiment
    from vovnet.policies.experiments import resolve_experiment

    if args.parallel != bool(args.gpus):
        raise ConfigError("--parallel and --gpus go together, as in --parallel --gpus 0,1,2")
    settings = checkpoint_settings(args, policy, sweep)
    resolve_experiment(settings, EXPERIMENT, key="")
    layout = checkpoint_layout(settings, args.checkpoint, args.output_dir)
    if settings.eval.profile:
        _run_live(settings, layout)
    else:
        observe_missing(settings, layout, args.gpus)
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
        "eval": {"num_shards": len(args.gpus or [0])},
    }
    whole = {"runs": {RUN: {}}, "experiments": {EXPERIMENT: experiment}, "targets": {}}
    return validate(merge(value, overrides) | whole, " + ".join(map(str, paths)))


def _run_live(settings: Settings, layout: Layout) -> None:
    """Run the policy live: the same answers, with latency and memory measured."""
    from vovnet.core.progress import progress
    from vovnet.inference.live import live_experiment

    with progress("answering") as on_sample:
        live_experiment(settings, layout, EXPERIMENT, on_sample)


def checkpoint_layout(settings: Settings, checkpoint: Path, output_dir: Path) -> CheckpointLayout:
    """The layout of a checkpoint, whose observations are named by all that they are made from.

    So a command with fewer samples, or another prompt, leaves what is observed already alone.
    """
    from vovnet.pipeline.keys import step_digest

    weights = _digest(checkpoint)[:12]
    observed = {}
    for name in observed_sets(settings):
        digest = step_digest(settings, "observe", run=RUN, seed=settings.seeds[0], eval_set=name)
        observed[name] = f"checkpoint-{weights}-{digest[:12]}"
    return CheckpointLayout(Path(settings.results_dir), checkpoint, output_dir, observed)


def observed_sets(settings: Settings) -> list[str]:
    """The sets that the experiment by hand reads, the router's where a router is fitted."""
    from vovnet.policies.experiments import uses_router_fit

    fitted = [ROUTER_FIT] if uses_router_fit(settings, EXPERIMENT) else []
    return [*experiment_sets(settings, EXPERIMENT), *fitted]


def observe_missing(
    settings: Settings, layout: CheckpointLayout, gpus: list[int] | None = None
) -> None:
    """Observe the checkpoint on every set that is read; what is there already is kept.

    With `gpus`, each of these devices observes its shard of every set in a process of its own.
    """
    from vovnet.inference.shards import gather
    from vovnet.pipeline.trained_model import TrainedModel

    observe_all = partial(_observe_shards, settings, layout)
    if gpus is None:
        observe_all(0, 1)
    else:
        run_on_devices(observe_all, gpus)
    trained = TrainedModel(settings, layout, RUN, settings.seeds[0])
    for name in layout.observed:
        gather(trained, name)
        if views := _views(settings, name):
            gather(trained, name, views)


def _observe_shards(
    settings: Settings, layout: CheckpointLayout, shard: int, num_shards: int
) -> None:
    """Observe one shard of every set, under the actions and the reduced views that are needed."""
    from vovnet.core.progress import progress
    from vovnet.inference.observe import observe_shard
    from vovnet.pipeline.trained_model import TrainedModel

    trained = TrainedModel(settings, layout, RUN, settings.seeds[0])
    part = f", shard {shard}/{num_shards}" if num_shards > 1 else ""
    for name in layout.observed:
        with progress(f"observing {name}{part}") as on_block:
            observe_shard(trained, name, shard, num_shards, on_block=on_block)
        if views := _views(settings, name):
            with progress(f"observing further views of {name}{part}") as on_block:
                observe_shard(trained, name, shard, num_shards, views, on_block)


def _views(settings: Settings, name: str) -> list[str]:
    """The reduced views of a set that the experiment by hand reads."""
    from vovnet.policies.experiments import needed_views

    return needed_views(settings, RUN, settings.seeds[0], name)


def _digest(checkpoint: Path) -> str:
    """Hash of a checkpoint's weights, found without torch."""
    path = checkpoint / "model.safetensors" if checkpoint.is_dir() else checkpoint
    if not path.is_file():
        raise CheckpointError(
            f"{checkpoint}: no checkpoint there, expected a folder with model.safetensors or a .pt"
            " file"
        )
    return sha256_file(path)


def rename_results(args: argparse.Namespace) -> None:
    """Give results.csv the name that `--output_prefix` asks for."""
    if args.output_prefix != "results":
        (args.output_dir / "results.csv").replace(args.output_dir / f"{args.output_prefix}.csv")

"""What the specification's commands by hand share: one checkpoint, one folder of results.

They run the same observation and evaluation as the DAG. Observations of a checkpoint are
kept under the results folder, so a second command on it runs no model.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gpu_leases.devices import VISIBLE, environment_of, machine_devices, visible_devices
from vovnet.commands.checkpoints import (
    check_prepared,
    checkpoint_flag,
    run_settings_of,
    tell_what_is_odd,
)
from vovnet.commands.common import CONFIG, Flag, count, folder, into_project
from vovnet.config import Settings, SplitRef, merge, read_yaml, source_of, validate
from vovnet.config.experiments import experiment_sets
from vovnet.core.errors import ConfigError, VovnetError
from vovnet.core.files import read_json, sha256_file
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.progress import progress

if TYPE_CHECKING:
    from vovnet.pipeline.trained_model import TrainedModel

RUN = "checkpoint"
EXPERIMENT = "by_hand"

Overrides = Mapping[str, Any]


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


def device_list(text: str) -> list[int]:
    """An argument such as `0,1,2`: the places of different devices among the visible ones."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise argparse.ArgumentTypeError(f"expected different numbers as in 0,1,2, got {text!r}")
    return [int(part) for part in parts]


def checkpoint_flags(required: bool = True) -> tuple[Flag, ...]:
    """The flags of a command on a checkpoint, which may also be `required` by another flag."""
    return (
        *CONFIG,
        checkpoint_flag(required),
        Flag("--output_dir", type=folder, required=required, help="where results go"),
        Flag(
            "--overwrite",
            action="store_true",
            help="also write where other results lie, which are replaced",
        ),
        Flag(
            "--max_samples",
            type=count,
            metavar="N",
            help="use the first N questions of each dataset",
        ),
        Flag(
            "--parallel",
            action="store_true",
            help="observe in parallel processes, one for each device of --gpus",
        ),
        Flag(
            "--gpus",
            type=device_list,
            metavar="I,J,...",
            help="numbers of the devices that --parallel uses, as in 0,1,2",
        ),
    )


def evaluate_checkpoint(
    args: argparse.Namespace, policy: Overrides, sweep: Mapping[str, list[Any]]
) -> tuple[Settings, CheckpointLayout]:
    """Observe the checkpoint where that is not done yet, then evaluate a policy or a sweep."""
    from vovnet.evaluation.experiment import evaluate_experiment
    from vovnet.pipeline.trained_model import run_of
    from vovnet.policies.experiments import resolve_experiment

    if args.parallel != bool(args.gpus):
        raise ConfigError("--parallel and --gpus go together, as in --parallel --gpus 0,1,2")
    into_project(args)
    manifest = run_of(args.checkpoint)
    settings = checkpoint_settings(args, policy, sweep, manifest)
    resolve_experiment(settings, EXPERIMENT, key="")
    check_prepared(settings, settings.layout, _parts(settings))
    layout = checkpoint_layout(settings, args.checkpoint, args.output_dir)
    if not args.overwrite:
        check_output(settings, layout)
    tell_what_is_odd(args.checkpoint, manifest, settings)
    if settings.eval.profile:  # the same answers, with latency and memory measured
        from vovnet.inference.live import live_experiment

        with progress("answering") as on_sample:
            live_experiment(settings, layout, EXPERIMENT, on_sample)
    else:
        observe_missing(settings, layout, args.gpus)
    evaluate_experiment(settings, layout, EXPERIMENT)
    return settings, layout


def checkpoint_settings(
    args: argparse.Namespace,
    policy: Overrides,
    sweep: Mapping[str, list[Any]],
    manifest: Mapping[str, Any] = MappingProxyType({}),
) -> Settings:
    """The settings with one run and one experiment: this checkpoint, under this policy.

    `manifest` is that of the checkpoint's stage, whose run may override settings. With
    `--dataset_config`, the sets that those files name are evaluated and no others.
    """
    settings = run_settings_of(args, manifest)
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
    shards = {"num_shards": len(args.gpus or [0])}
    overrides = {"seeds": [settings.training.seed], "eval": shards}
    (kind,) = settings.runs.values()
    whole = {"runs": {RUN: kind}, "experiments": {EXPERIMENT: experiment}}
    return validate(merge(value, overrides) | whole, source_of(args.config, args.set))


def _parts(settings: Settings) -> list[SplitRef]:
    """The parts of datasets that a command reads."""
    from vovnet.policies.experiments import uses_router_fit

    fitted = settings.data.router_fit if uses_router_fit(settings, EXPERIMENT) else []
    return [*settings.data.eval_sets.values(), *fitted]


def check_output(settings: Settings, layout: CheckpointLayout) -> None:
    """Refuse a folder that holds results of another command, or of another checkpoint."""
    from vovnet.pipeline.keys import step_digest
    from vovnet.pipeline.trained_model import weights_file

    path = layout.output_dir / "summary.json"
    held = [name for name in ("results.csv", path.name) if (layout.output_dir / name).exists()]
    if not held:
        return
    weights = sha256_file(weights_file(layout.checkpoint))
    key = step_digest(settings, "evaluate", experiment=EXPERIMENT)
    summary = read_json(path) if path.exists() else {}
    if summary.get("key", {}).get("config") != key or weights not in _weights_of(summary):
        raise ConfigError(
            f"--output_dir: {layout.output_dir} holds other results ({held[0]}), expected a folder"
            " of its own, or --overwrite"
        )


def _weights_of(summary: Mapping[str, Any]) -> set[str]:
    """The hashes of the weights whose results a summary tells of."""
    replayed = {facts.get("checkpoint_hash", "") for facts in summary.get("inputs", ())}
    return replayed | {facts.get("sha256", "") for facts in summary.get("checkpoints", ())}


def checkpoint_layout(settings: Settings, checkpoint: Path, output_dir: Path) -> CheckpointLayout:
    """The layout of a checkpoint, whose observations are named by all that they are made from.

    So a command with fewer samples, or another prompt, leaves what is observed already alone.
    """
    from vovnet.pipeline.keys import step_digest
    from vovnet.pipeline.trained_model import weights_file
    from vovnet.policies.experiments import uses_router_fit

    weights = sha256_file(weights_file(checkpoint))[:12]
    fitted = [ROUTER_FIT] if uses_router_fit(settings, EXPERIMENT) else []
    observed = {}
    for name in [*experiment_sets(settings, EXPERIMENT), *fitted]:
        digest = step_digest(settings, "observe", run=RUN, seed=settings.seeds[0], eval_set=name)
        observed[name] = f"checkpoint-{weights}-{digest[:12]}"
    return CheckpointLayout(Path(settings.results_dir), checkpoint, output_dir, observed)


def observe_missing(
    settings: Settings, layout: CheckpointLayout, gpus: Sequence[int] | None = None
) -> None:
    """Observe the checkpoint on every set that is read; what is there already is kept.

    With `gpus`, each of these devices observes its shard of every set in a process of its own.
    """
    from vovnet.inference.shards import gather
    from vovnet.pipeline.trained_model import TrainedModel

    trained = TrainedModel(settings, layout, RUN, settings.seeds[0])
    if gpus is None:
        _observe_shards(trained, list(layout.observed), 0, 1)
    else:
        _on_devices(partial(_observe_shards, trained, list(layout.observed)), gpus)
    for name in layout.observed:
        for views in _groups(trained, name):
            gather(trained, name, views)


def _observe_shards(
    trained: TrainedModel, names: Sequence[str], shard: int, num_shards: int
) -> None:
    """Observe one shard of every set, under the actions and the reduced views that are needed."""
    from vovnet.inference.observe import observe_shard

    part = f", shard {shard}/{num_shards}" if num_shards > 1 else ""
    for name in names:
        for views in _groups(trained, name):
            what = f"further views of {name}" if views else name
            with progress(f"observing {what}{part}") as on_block:
                observe_shard(trained, name, shard, num_shards, views, on_block)


def _groups(trained: TrainedModel, name: str) -> list[Sequence[str]]:
    """The groups of tables of a set: of the actions (no views), and of the reduced views."""
    from vovnet.policies.experiments import needed_views

    views = needed_views(trained.suite, RUN, trained.seed, name)
    return [(), views] if views else [()]


# ---- one process for each device -------------------------------------------------------


def devices_at(places: Sequence[int]) -> list[str]:
    """The devices at these places among the visible ones.

    Where the machine has no device at all, or all are hidden, their names are empty, and the
    processes share the CPU, which one line says.
    """
    visible = visible_devices() if machine_devices() else []
    if not visible:
        print(f"no GPU is visible here: {len(places)} processes share the CPU", file=sys.stderr)
        return [""] * len(places)
    if max(places) >= len(visible):
        raise ConfigError(
            f"--gpus: device {max(places)} is not among the {len(visible)} visible devices"
            f" ({VISIBLE}={os.environ.get(VISIBLE, 'not set')})"
        )
    return [visible[place] for place in places]


def _on_devices(task: Callable[[int, int], None], places: Sequence[int]) -> None:
    """Call `task(index, count)` once for each device, in a process that sees that device only.

    The first error is raised here, after the other processes have ended.
    """
    devices = devices_at(places)
    with ProcessPoolExecutor(len(devices), mp_context=get_context("spawn")) as pool:
        futures = [
            pool.submit(_on_device, device, task, index, len(devices))
            for index, device in enumerate(devices)
        ]
    try:
        for future in futures:
            future.result()
    except BrokenProcessPool:
        raise VovnetError("a process of --parallel was killed; the same command goes on") from None


def _on_device(device: str, task: Callable[[int, int], None], index: int, count: int) -> None:
    os.environ.update(environment_of([device]))  # before torch is imported, which reads it once
    task(index, count)

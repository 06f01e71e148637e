"""With what the jobs of a rule are called, how they start, and what they ask for."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vovnet.config import Settings, run_settings
from vovnet.config.execution import Resources
from vovnet.core.errors import ConfigError
from vovnet.core.files import HashCache
from vovnet.pipeline.catalogue import STEPS
from vovnet.pipeline.keys import step_code, write_step_config
from workflow.boundary import ends_in_one_line

LEASE = "python -m vovnet lease --gpus {} --record {} --"
SELECTED = ("dataset", "split", "run", "seed", "eval_set", "experiment", "report")
"""Wildcards that say for what a step is called."""

MEM_MB_PER_MB, RUNTIME_MIN_PER_MB = 1.0, 0.02
"""What each MB of a light job's inputs adds to the memory and the time that it asks for."""

NEVER = r"(?!)"
"""A regular expression of nothing."""

Wildcards = Any
Params = Callable[..., Any]


class Jobs:
    """What rules of every stage need. Methods that take wildcards are functions of parameters."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout = settings.layout
        self.hashes = HashCache(self.layout.provenance / "hashes.json")
        self._known: dict[tuple[Any, ...], str] = {}

    # ---- parameters --------------------------------------------------------------------

    def call(self, step: str, **selection: Any) -> dict[str, Any]:
        """The parameters of a rule that calls a step with its own configuration alone."""
        return {
            "command": step,
            "config": self.config(step, **selection),
            "code": self.code(step, **selection),
        }

    def config(self, step: str, **selection: Any) -> Params:
        """A parameter function: the path of the step's own configuration.

        The selection is completed by the rule's wildcards.
        """
        # Snakemake asks for the signature for each job, and that of a partial takes long to tell.
        return lambda wildcards: self._config(step, selection, wildcards)

    @ends_in_one_line()
    def _config(self, step: str, selection: dict[str, Any], wildcards: Wildcards) -> str:
        chosen = selected(wildcards) | selection
        known = ("config", step, *sorted(chosen.items()))
        if known not in self._known:
            path = write_step_config(self.settings, self.layout, step, **chosen)
            self._known[known] = str(path)
        return self._known[known]

    def code(self, step: str, views: Params | None = None, **selection: Any) -> Params:
        """A parameter function: digest of the source that computes the step's result.

        An edit elsewhere runs nothing again. `views` tells which further views the step shows.
        """
        return lambda wildcards: self._code(step, views, selection, wildcards)

    @ends_in_one_line()
    def _code(
        self, step: str, views: Params | None, selection: dict[str, Any], wildcards: Wildcards
    ) -> str:
        chosen = selected(wildcards) | selection
        shown: Sequence[str] = tuple(views(wildcards)) if views else ()
        # No seed chooses code, and there are many.
        known = ("code", step, shown, *sorted(item for item in chosen.items() if item[0] != "seed"))
        if known not in self._known:
            self._known[known] = step_code(self.settings, step, shown, **chosen)
        return self._known[known]

    # ---- how a command starts ----------------------------------------------------------

    def leased(self, rule: str, *parts: str) -> Params:
        """A parameter function: how a command starts, on devices of its own if it asks for some.

        What it did on them is recorded beside the job's benchmark.
        """
        return partial(self._leased, self.benchmark(rule, *parts).removesuffix(".tsv"))

    def _leased(self, record: str, wildcards: Wildcards, resources: Any) -> str:
        gpus = resources.get("gpu", 0)
        if not gpus:
            return "python -m vovnet"
        lease = LEASE.format(gpus, shlex.quote(record.format(**wildcards) + ".gpu.json"))
        return f"{lease} python -m vovnet"

    def timed(self, rule: str, *parts: str) -> Params:
        """A parameter function: how a command starts that has the machine for itself.

        It computes with the threads of its kind, whatever cores are kept free for it.
        """
        return partial(self._timed, self.leased(rule, *parts))

    def _timed(self, leased: Params, wildcards: Wildcards, resources: Any, threads: int) -> str:
        share = min(threads, self.threads("observe"))
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        limits = " ".join(f"{name}={share}" for name in names)
        return f"{limits} {leased(wildcards, resources)}"

    def launcher(self, rule: str, *parts: str) -> Params:
        """A parameter function: how training starts, on as many devices as the run asks for.

        Its processes share the job's threads.
        """
        return partial(self._launcher, self.leased(rule, *parts))

    @ends_in_one_line()
    def _launcher(self, leased: Params, wildcards: Wildcards, resources: Any, threads: int) -> str:
        training = run_settings(self.settings, wildcards.run).training
        count, gpus = training.num_processes, resources.get("gpu", 0)
        if gpus not in (0, count):
            raise ConfigError(f"training.num_processes is {count}, but the job may use {gpus} GPUs")
        alone = leased(wildcards, resources)
        if count == 1:
            return str(alone)
        share = max(1, threads // count)
        if gpus == 0:
            return (
                f"OMP_NUM_THREADS={share} python -m torch.distributed.run --standalone"
                f" --nproc_per_node {count} -m -- vovnet"
            )
        # What is not said here, accelerate takes from a file of the user's, if there is one.
        return alone.removesuffix("python -m vovnet") + (
            "accelerate launch --multi_gpu --gpu_ids all --num_machines 1"
            f" --num_processes {count} --num_cpu_threads_per_process {share}"
            " --main_process_port 0"
            f" --mixed_precision {training.mixed_precision} --dynamo_backend no -m vovnet"
        )

    # ---- files and resources -----------------------------------------------------------

    def log(self, rule: str, *parts: str) -> str:
        return self._beside("logs", rule, parts) + ".log"

    def benchmark(self, rule: str, *parts: str) -> str:
        return self._beside("benchmarks", rule, parts) + ".tsv"

    def _beside(self, kind: str, rule: str, parts: Sequence[str]) -> str:
        """A file about a job, in the folder of its results."""
        shared = rule in STEPS and STEPS[rule].shared
        folder = self.layout.root if shared else self.layout.results
        return str(folder / kind / rule / (",".join(parts) or "all"))  # no name has a comma

    def resources(self, kind: str, *, alone: bool = False, streams: bool = False) -> dict[str, Any]:
        """What the scheduler is told; `gpu` only where devices are asked for.

        A job that ran out of memory or time is tried again with more of both. Those of a light job
        follow from the size of its inputs; one that `streams` holds no more for larger ones. A job
        that must be `alone` has a node of Slurm for itself.
        """
        asked: Resources = getattr(self.settings.resources, kind)
        light = kind == "light"
        per_mb = {
            "mem_mb": MEM_MB_PER_MB if light and not streams else 0.0,
            "runtime": RUNTIME_MIN_PER_MB if light else 0.0,
        }
        values: dict[str, Any] = {
            name: partial(_grown, amount, per_mb[name], asked.retry_factor)
            for name, amount in (("mem_mb", asked.mem_mb), ("runtime", asked.runtime_min))
        }
        if self.settings.resources.account:
            values["slurm_account"] = self.settings.resources.account
        if asked.partition:
            values["slurm_partition"] = asked.partition
        if asked.gpu > 0:
            values["gpu"] = asked.gpu
            # Without GPUs a model would ask for one: the plugin's default count.
            if asked.gpu_model:
                values["gpu_model"] = asked.gpu_model
        if asked.gpu > 1:
            values["nodes"] = 1
        if alone:
            values["slurm_extra"] = "--exclusive"
        return values

    def threads(self, kind: str) -> int:
        asked: Resources = getattr(self.settings.resources, kind)
        return asked.threads


def selected(wildcards: Wildcards) -> dict[str, Any]:
    """What a rule's wildcards say about the step that it calls."""
    found = {key: value for key, value in wildcards.items() if key in SELECTED}
    return found | ({"seed": int(found["seed"])} if "seed" in found else {})


def _grown(
    amount: int,
    per_mb: float,
    factor: float,
    wildcards: Wildcards,
    attempt: int,
    input: Sequence[str] = (),
) -> int:
    """An amount of memory or time in an attempt, counted from 1, for the inputs that are there.

    Snakemake asks before a job's inputs exist, to plan, and once more when it is to start.
    """
    more = per_mb * input_mb(input) if per_mb else 0.0
    return int((amount + more) * factor ** (attempt - 1))


def input_mb(paths: Iterable[str]) -> float:
    """The size of the files that are there, in MB; of a manifest's folder that of its tables."""
    files = [Path(path) for path in paths]
    folders = {path.parent for path in files if path.name.endswith("manifest.json")}
    tables = [table for folder in folders for table in folder.glob("*.parquet")]
    sizes = (path.stat().st_size for path in (*files, *tables) if path.is_file())
    return sum(sizes) / 1e6

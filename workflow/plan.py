"""What every rule of the DAG reads, derived from the configuration alone.

The rules hold outputs, resources and the command; their inputs and parameters are methods of
`Plan`, so that they can be tested without Snakemake.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from vovnet.config import Resources, Settings, run_settings, validate
from vovnet.config.experiments import (
    ablation_experiments,
    bench_experiments,
    experiment_seeds,
    experiment_sets,
    fallback_experiments,
    report_experiments,
    report_names,
    stage1_owner,
    train_parts,
    uses_router_fit,
)
from vovnet.core.errors import ConfigError, VovnetError
from vovnet.core.layout import ROUTER_FIT, SUITE, Layout
from vovnet.data import hub
from vovnet.pipeline.keys import step_code, write_step_config
from vovnet.policies import experiment_views, needed_views
from vovnet.report.discovery import made_by
from workflow.machine import find_commands

NAME = r"[A-Za-z0-9][\w.-]*"
"""What names of datasets, splits, sets, runs and experiments look like: they become paths."""

NEVER = r"(?!)"
LEASE = "python -m vovnet lease --gpus {} --record {} --"
SLICE_FILES = ("error_slices.csv", "error_slices.json")
BENCH_FILES = (
    *(f"{name}.json" for name in ("suite", "batching", "reuse", "reductions", "growth")),
    "bench.csv",
    "bench.md",
    "manifest.json",
)
RESULT_FILES = ("results.csv", "summary.json", "samples.parquet")
HULL_TABLES = ("hull_metrics.csv", "curves.csv", "equal_cost.csv")

Wildcards = Any
Params = Callable[..., Any]


def make_plan(config: Mapping[str, Any], files: Iterable[Any] = ()) -> Plan:
    """The plan of a configuration, read from `files`; a wrong one ends Snakemake with one line."""
    find_commands()
    try:
        return Plan(validate(config, " + ".join(map(str, files)) or "configuration"))
    except VovnetError as error:
        sys.exit(f"vovnet: error: {error}")


class Plan:
    """Inputs and parameters of the rules. Methods that take wildcards are input functions."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout = Layout(Path(settings.results_dir))
        self._configs: dict[tuple[Any, ...], str] = {}
        self._codes: dict[tuple[Any, ...], str] = {}
        self._views: dict[tuple[str, int, str], list[str]] = {}
        _check_names(settings)
        for run in settings.runs:
            _check_devices(settings, run)
        for name in settings.experiments:
            self.reduces(name)  # a reduced view that lacks a setting is an error before any job

    # ---- experiments and targets -------------------------------------------------------

    def experiments(self, mode: str) -> list[str]:
        """Names of the experiments of a mode, `replay` or `live`."""
        return [name for name, item in self.settings.experiments.items() if item.mode == mode]

    def pattern(self, mode: str) -> str:
        """A regular expression of their names, for wildcards."""
        return "|".join(map(re.escape, self.experiments(mode))) or NEVER

    def results(self, experiments: Iterable[str]) -> list[Path]:
        return [path for name in experiments for path in self.result_files(name)]

    def target_files(self, target: str) -> list[Path]:
        """The results of a target's experiments, and the tables that are about them alone."""
        names = self.settings.targets[target]
        tables = {"reliability": self.reliability_files, "ablations": self.ablation_files}
        return [*self.results(names), *tables.get(target, [])]

    def result_files(self, experiment: str) -> list[Path]:
        return [self.layout.eval(experiment) / name for name in RESULT_FILES]

    def slice_files(self, experiment: str) -> list[Path]:
        return [self.layout.eval(experiment) / name for name in SLICE_FILES]

    @property
    def sliced(self) -> list[str]:
        """Names of the experiments that are cut into slices."""
        return [name for name, item in self.settings.experiments.items() if item.error_slices]

    @property
    def sliced_pattern(self) -> str:
        return "|".join(map(re.escape, self.sliced)) or NEVER

    # ---- data --------------------------------------------------------------------------

    @property
    def synthetic(self) -> list[str]:
        return self._from("synthetic")

    @property
    def remote(self) -> list[str]:
        """Datasets that are downloaded."""
        return self._from("hub")

    def _from(self, source: str) -> list[str]:
        datasets = self.settings.data.datasets
        return [name for name, item in datasets.items() if item.source == source]

    def raw_manifest(self, dataset: str) -> Path:
        """Written last by `vovnet synthesize` or `vovnet fetch`."""
        definition = self.settings.data.datasets[dataset]
        name = hub.MANIFEST if definition.source == "hub" else "manifest.json"
        return Path(definition.root) / name

    def raw_files(self, dataset: str) -> list[Path]:
        """The files of a dataset whose names are known in advance, globs left out."""
        definition = self.settings.data.datasets[dataset]
        names = dict.fromkeys(definition.files.values())
        return [Path(definition.root) / name for name in names if not _is_glob(name)]

    def prepare_inputs(self, wildcards: Wildcards) -> list[Path]:
        """Raw files of a split.

        Files of the user's own are listed as far as they exist: the DAG of a configuration can
        be seen without its data, and `vovnet prepare` names what is missing.
        """
        dataset = wildcards.dataset
        definition = self.settings.data.datasets[dataset]
        root, name = Path(definition.root), definition.files[wildcards.split]
        if definition.source == "synthetic":
            manifest = self.raw_manifest(dataset)
            listed = [] if _is_glob(name) else [root / name]
            others = [other for other in definition.files.values() if other != name]
            edited = _edited(root, manifest, others)
            return list(dict.fromkeys([manifest, *listed, *edited]))
        if definition.source == "hub":
            return [self.raw_manifest(dataset)]
        if _is_glob(name):
            return sorted(root.glob(name))
        if (root / name).is_dir():
            return sorted(path for path in (root / name).rglob("*") if path.is_file())
        others = [definition.image_root or "", definition.ocr_files.get(wildcards.split, "")]
        found = [root / other for other in (name, *others) if other]
        return [path for path in found if path.exists()]

    def samples(self, refs: Iterable[Any]) -> list[Path]:
        """The unified samples of some splits, each once."""
        return list(dict.fromkeys(self.layout.samples(ref.dataset, ref.split) for ref in refs))

    @property
    def all_samples(self) -> list[Path]:
        """The unified samples that training, routers and evaluation read."""
        data = self.settings.data
        train = train_parts(self.settings)
        return self.samples([*train, *data.router_fit, *data.eval_sets.values()])

    # ---- training ----------------------------------------------------------------------

    def train_inputs(self, wildcards: Wildcards) -> list[Path]:
        """The training mix of a run, and its base model where that is a folder."""
        value = run_settings(self.settings, wildcards.run)
        return self.samples(value.data.train) + _model_files(value.model.base_model_name)

    @cached_property
    def owners(self) -> dict[str, str]:
        """Run -> the run whose stage 1 it starts from."""
        return {run: stage1_owner(self.settings, run) for run in self.settings.runs}

    def stage1(self, wildcards: Wildcards) -> Path:
        """The stage that stage 2 starts from; runs with equal stage-1 settings share it."""
        return self.stage(self.owners[wildcards.run], wildcards.seed, 1)

    def stage2(self, wildcards: Wildcards) -> Path:
        return self.stage(wildcards.run, wildcards.seed, 2)

    def stage(self, run: str, seed: int, stage: int) -> Path:
        return self.layout.stage(run, seed, stage) / "manifest.json"

    def launcher(self, rule: str, *parts: str) -> Params:
        """A parameter function: how training starts, on as many devices as the run asks for.

        Its processes share the job's threads.
        """
        leased = self.leased(rule, *parts)

        def launch(wildcards: Wildcards, resources: Any, threads: int) -> str:
            training = run_settings(self.settings, wildcards.run).training
            count, gpus = training.num_processes, resources.get("gpu", 0)
            if gpus not in (0, count):
                raise ConfigError(
                    f"training.num_processes is {count}, but the job may use {gpus} GPUs"
                )
            alone = leased(wildcards, resources)
            if count == 1:
                return alone
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

        return launch

    def leased(self, rule: str, *parts: str) -> Params:
        """A parameter function: how a command starts, on devices of its own if it asks for some.

        What it did on them is recorded beside the job's benchmark.
        """

        def launch(wildcards: Wildcards, resources: Any) -> str:
            gpus = resources.get("gpu", 0)
            record = self.benchmark(rule, *parts).removesuffix(".tsv").format(**wildcards)
            lease = f"{LEASE.format(gpus, record + '.gpu.json')} " if gpus else ""
            return f"{lease}python -m vovnet"

        return launch

    # ---- observations ------------------------------------------------------------------

    def shard(self, run: str, seed: str, eval_set: str, part: str, parts: str) -> Path:
        """The manifest of one shard of an observation, written last."""
        return self.layout.shard(run, seed, eval_set, part, parts) / "manifest.json"

    def set_samples(self, wildcards: Wildcards) -> list[Path]:
        """The unified samples of an evaluation set, or of the router's set."""
        data = self.settings.data
        name = wildcards.eval_set
        return self.samples(data.router_fit if name == ROUTER_FIT else [data.eval_sets[name]])

    def shards(self, wildcards: Wildcards) -> list[Path]:
        count = self.settings.eval.num_shards
        parts = (wildcards.run, wildcards.seed, wildcards.eval_set)
        return [self.shard(*parts, str(index), str(count)) for index in range(count)]

    def views(self, wildcards: Wildcards) -> list[str]:
        """Reduced views that the experiments on a set need of a trained model."""
        return self.needed_views(wildcards.run, int(wildcards.seed), wildcards.eval_set)

    def live_views(self, wildcards: Wildcards) -> list[str]:
        """Reduced views that a live experiment shows."""
        return experiment_views(self.settings, wildcards.experiment)

    def needed_views(self, run: str, seed: int, eval_set: str) -> list[str]:
        key = (run, seed, eval_set)
        if key not in self._views:
            self._views[key] = needed_views(self.settings, *key)
        return self._views[key]

    def view_shard(self, run: str, seed: str, eval_set: str, part: str, parts: str) -> Path:
        """The manifest of one shard of the reduced views, written last."""
        return self.layout.view_shard(run, seed, eval_set, part, parts) / "manifest.json"

    def view_shards(self, wildcards: Wildcards) -> list[Path]:
        count = self.settings.eval.num_shards
        parts = (wildcards.run, wildcards.seed, wildcards.eval_set)
        return [self.view_shard(*parts, str(index), str(count)) for index in range(count)]

    def observation(self, run: str, seed: int, eval_set: str) -> list[Path]:
        """The tables of an observation; timings are apart, because no decision reads them."""
        folder = self.layout.observations(run, seed, eval_set)
        return [
            *(folder / f"{name}.parquet" for name in ("signals", *self.settings.actions)),
            folder / "manifest.json",
        ]

    def timings(self, run: str, seed: int, eval_set: str) -> list[Path]:
        folder = self.layout.observations(run, seed, eval_set)
        return [folder / f"{view}.timings.parquet" for view in self.settings.actions]

    # ---- evaluation --------------------------------------------------------------------

    def evaluate_inputs(self, wildcards: Wildcards) -> list[Path]:
        """Observations and samples of an experiment, and the ratios it is matched to."""
        return [*self.experiment_observations(wildcards.experiment), *self.matched(wildcards)]

    def live_inputs(self, wildcards: Wildcards) -> list[Path]:
        """Checkpoints and samples of an experiment that runs the model itself."""
        name = wildcards.experiment
        run, data = self.settings.experiments[name].run, self.settings.data
        seeds = experiment_seeds(self.settings, name)
        fitted = self.router_observations(name) if uses_router_fit(self.settings, name) else []
        sets = [data.eval_sets[eval_set] for eval_set in experiment_sets(self.settings, name)]
        return [
            *(self.stage(run, seed, 2) for seed in seeds),
            *self.samples(sets),
            *fitted,
            *self.matched(wildcards),
        ]

    def matched(self, wildcards: Wildcards) -> list[Path]:
        """The ratios of an experiment that copies another's, none for other experiments."""
        name = wildcards.experiment
        return [self.matched_file(name)] if self.settings.experiments[name].match else []

    def matched_file(self, experiment: str) -> Path:
        return self.layout.eval(experiment) / "matched.yaml"

    def slice_inputs(self, wildcards: Wildcards) -> list[Path]:
        """What an experiment did, and the observations that it is held against."""
        name = wildcards.experiment
        samples = self.layout.eval(name) / "samples.parquet"
        return [samples, *self.experiment_observations(name)]

    def match_inputs(self, wildcards: Wildcards) -> list[Path]:
        """Results of the matched experiment; for buckets also its samples and their signals."""
        name = wildcards.experiment
        stanza = self.settings.experiments[name]
        assert stanza.match is not None, name
        folder = self.layout.eval(stanza.match.experiment)
        if stanza.match.buckets is None:
            return [folder / "results.csv"]
        run = self.settings.experiments[stanza.match.experiment].run
        signals = [
            self.layout.observations(run, seed, eval_set) / "signals.parquet"
            for seed in experiment_seeds(self.settings, name)
            for eval_set in experiment_sets(self.settings, name)
        ]
        return [folder / "results.csv", folder / "samples.parquet", *signals]

    @property
    def matched_pattern(self) -> str:
        """A regular expression of the experiments with a match, for wildcards."""
        names = [name for name, item in self.settings.experiments.items() if item.match]
        return "|".join(map(re.escape, names)) or NEVER

    def experiment_observations(self, name: str) -> list[Path]:
        settings, run = self.settings, self.settings.experiments[name].run
        sets = experiment_sets(settings, name)
        tables = [
            path
            for seed in experiment_seeds(settings, name)
            for eval_set in sets
            for path in self.observation(run, seed, eval_set)
        ]
        if self.reduces(name):
            tables += [
                self.layout.views_manifest(run, seed, eval_set)
                for seed in experiment_seeds(settings, name)
                for eval_set in sets
            ]
        samples = self.samples(settings.data.eval_sets[eval_set] for eval_set in sets)
        fitted = self.router_observations(name) if uses_router_fit(settings, name) else []
        return [*tables, *samples, *fitted]

    def reduces(self, name: str) -> bool:
        """Whether an experiment reads reduced views."""
        return bool(experiment_views(self.settings, name))

    def router_observations(self, name: str) -> list[Path]:
        """What a router of this experiment is fitted on."""
        run = self.settings.experiments[name].run
        tables = [
            path
            for seed in experiment_seeds(self.settings, name)
            for path in self.observation(run, seed, ROUTER_FIT)
        ]
        return [*tables, *self.samples(self.settings.data.router_fit)]

    # ---- report ------------------------------------------------------------------------

    @cached_property
    def reports(self) -> list[str]:
        """Names of the reports: the paper, and the whole suite where the paper shows a part."""
        return report_names(self.settings)

    @cached_property
    def reported(self) -> dict[str, list[str]]:
        """Report -> names of the experiments that it shows."""
        return {report: report_experiments(self.settings, report) for report in self.reports}

    def hull_inputs(self, wildcards: Wildcards) -> list[Path]:
        """The replayed results that a report shows, and the observations behind them."""
        stanzas = self.settings.experiments
        names = [n for n in self.reported[wildcards.report] if stanzas[n].mode == "replay"]
        observed = [path for name in names for path in self.experiment_observations(name)]
        return list(dict.fromkeys([*self.results(names), *observed]))

    def report_inputs(self, wildcards: Wildcards) -> list[Path]:
        """What tables and figures read: results, their summaries and the hull metrics."""
        names = self.reported[wildcards.report]
        results = [self.layout.eval(name) / "results.csv" for name in names]
        return [*results, *self.hull_files(wildcards.report)]

    def hull_files(self, report: str) -> list[Path]:
        """Of a report by its name, or of any by a wildcard, as all methods that take a report."""
        return [Layout(self.layout.root, report=report).hull / name for name in HULL_TABLES]

    def table_files(self, report: str) -> list[Path]:
        folder = Layout(self.layout.root, report=report).paper
        return [folder / name for name in made_by("vovnet.report.tables")]

    def figure_folder(self, report: str) -> Path:
        return Layout(self.layout.root, report=report).paper / "figures"

    def sanity_files(self, report: str) -> list[Path]:
        folder = Layout(self.layout.root, report=report).paper
        return [folder / name for name in ("sanity.md", "sanity.json")]

    def report_files(self, *reports: str) -> list[Path]:
        """Everything that reports show; of every report where none is named."""
        return [
            path
            for report in reports or self.reports
            for path in (
                *self.hull_files(report),
                *self.table_files(report),
                self.figure_folder(report),
                *self.sanity_files(report),
            )
        ]

    def pdf_file(self, report: str) -> Path:
        return Layout(self.layout.root, report=report).paper / "paper.pdf"

    def pdf_inputs(self, wildcards: Wildcards) -> list[Path]:
        """Tables and figures of a report; with everything, also those that are made once."""
        report = wildcards.report
        once = [*self.ablation_files, *self.reliability_files] if report == SUITE else []
        return [*self.table_files(report), self.figure_folder(report), *once]

    @property
    def reliability_inputs(self) -> list[Path]:
        """Slices, and the results of the experiments with a fallback."""
        names = fallback_experiments(self.settings)
        sliced = [path for name in self.sliced for path in self.slice_files(name)]
        return [*sliced, *(self.layout.eval(name) / "results.csv" for name in names)]

    @property
    def reliability_files(self) -> list[Path]:
        """Tables and the reliability figure; none where no experiment is cut into slices."""
        if not self.sliced:
            return []
        return [self.layout.paper / name for name in made_by("vovnet.report.reliability")]

    @property
    def ablation_inputs(self) -> list[Path]:
        """What the default and the ablations did, and the observations behind it."""
        names = ablation_experiments(self.settings)
        samples = [self.layout.eval(name) / "samples.parquet" for name in names]
        observed = [path for name in names for path in self.experiment_observations(name)]
        return list(dict.fromkeys([*samples, *observed]))

    @property
    def ablation_files(self) -> list[Path]:
        """The table of ablations; none where the configuration has no ablation."""
        if len(ablation_experiments(self.settings)) < 2:
            return []
        return [self.layout.paper / name for name in made_by("vovnet.report.ablations")]

    def training_logs(self, wildcards: Wildcards) -> list[Path]:
        """Manifests of the stages behind a report; logs and calibration lie beside them."""
        settings = self.settings
        pairs = [
            (settings.experiments[name].run, seed)
            for name in self.reported[wildcards.report]
            for seed in experiment_seeds(settings, name)
        ]
        stages = [
            self.stage(owner, seed, stage)
            for run, seed in dict.fromkeys(pairs)
            for owner, stage in ((self.owners[run], 1), (run, 2))
        ]
        return list(dict.fromkeys(stages))

    # ---- bench -------------------------------------------------------------------------

    @property
    def bench_files(self) -> list[Path]:
        return [self.layout.bench / name for name in BENCH_FILES]

    def bench_inputs(self, wildcards: Wildcards) -> list[Path]:
        """The trained model of the first seed, the evaluation sets and the routers' set."""
        data = self.settings.data
        names = bench_experiments(self.settings)
        if not names:
            return []
        run = self.settings.experiments[names[0]].run
        samples = self.samples([*data.eval_sets.values(), *data.router_fit])
        return [self.stage(run, self.settings.seeds[0], 2), *samples]

    # ---- parameters --------------------------------------------------------------------

    def config(self, step: str, **selection: Any) -> Params:
        """A parameter function: the path of the step's own configuration.

        The selection is completed by the rule's wildcards.
        """

        def step_config(wildcards: Wildcards) -> str:
            chosen = _selection(wildcards, selection)
            known = (step, *sorted(chosen.items()))
            if known not in self._configs:
                path = write_step_config(self.settings, self.layout, step, **chosen)
                self._configs[known] = str(path)
            return self._configs[known]

        return step_config

    def code(self, step: str, views: Params | None = None, **selection: Any) -> Params:
        """A parameter function: digest of the source that computes the step's result.

        An edit elsewhere runs nothing again. `views` tells which further views the step shows.
        """

        def digest(wildcards: Wildcards) -> str:
            chosen = _selection(wildcards, selection)
            shown = tuple(views(wildcards)) if views else ()
            known = (step, shown, *sorted(chosen.items()))
            if known not in self._codes:
                self._codes[known] = step_code(self.settings, step, shown, **chosen)
            return self._codes[known]

        return digest

    def call(self, command: str) -> dict[str, Any]:
        """The parameters of a rule that calls a command with its own configuration alone."""
        return {
            "command": command,
            "config": self.config(command),
            "code": self.code(command),
        }

    # ---- files and resources -----------------------------------------------------------

    def log(self, rule: str, *parts: str) -> str:
        return str(self.layout.root.joinpath("logs", rule, "_".join(parts) or "all")) + ".log"

    def benchmark(self, rule: str, *parts: str) -> str:
        return str(self.layout.root.joinpath("benchmarks", rule, "_".join(parts) or "all")) + ".tsv"

    def resources(self, kind: str) -> dict[str, Any]:
        """What the scheduler is told; `gpu` only where devices are asked for.

        A job that ran out of memory or time is tried again with more of both.
        """
        asked: Resources = getattr(self.settings.resources, kind)

        def growing(amount: int) -> Params:
            return lambda wildcards, attempt: int(amount * asked.retry_factor ** (attempt - 1))

        values: dict[str, Any] = {
            "mem_mb": growing(asked.mem_mb),
            "runtime": growing(asked.runtime_min),
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
        return values

    def threads(self, kind: str) -> int:
        asked: Resources = getattr(self.settings.resources, kind)
        return asked.threads


def _selection(wildcards: Wildcards, selection: dict[str, Any]) -> dict[str, Any]:
    """What a step is called for: the rule's wildcards, and what the rule says itself."""
    keys = ("dataset", "split", "run", "seed", "eval_set", "experiment", "report")
    found = {key: value for key, value in wildcards.items() if key in keys}
    if "seed" in found:
        found["seed"] = int(found["seed"])
    return {**found, **selection}


def _is_glob(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def _edited(root: Path, manifest: Path, others: Iterable[str]) -> list[Path]:
    """Rendered files that were changed by hand since the manifest was written last.

    Files that only `others`, the patterns of other splits, are made of do not count.
    """
    if not manifest.is_file():
        return []
    written = manifest.stat().st_mtime_ns
    elsewhere = {path for pattern in others for path in root.glob(pattern)}
    files = (path for path in root.rglob("*") if path.is_file() and path not in elsewhere)
    return sorted(path for path in files if path.stat().st_mtime_ns > written)


def _model_files(base_model_name: str) -> list[Path]:
    """The files of a local base model, none for one of the hub."""
    folder = Path(base_model_name)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors"})


def _check_names(settings: Settings) -> None:
    named: dict[str, Iterable[str]] = {
        "data.datasets": settings.data.datasets,
        "data.eval_sets": settings.data.eval_sets,
        "runs": settings.runs,
        "experiments": settings.experiments,
        "targets": settings.targets,
    }
    for dataset, definition in settings.data.datasets.items():
        named[f"data.datasets.{dataset}.files"] = definition.files
    for key, names in named.items():
        for name in names:
            if not re.fullmatch(NAME, name):
                raise ConfigError(f"{key}: {name!r} must be letters, digits, '_', '.' or '-'")
    if ROUTER_FIT in settings.data.eval_sets:
        raise ConfigError(f"data.eval_sets: the name {ROUTER_FIT!r} is taken by data.router_fit")


def _check_devices(settings: Settings, run: str) -> None:
    count = run_settings(settings, run).training.num_processes
    gpus = settings.resources.train.gpu
    if gpus not in (0, count):
        raise ConfigError(
            f"resources.train.gpu is {gpus} and training.num_processes of run {run!r} is {count},"
            " they must be equal"
        )

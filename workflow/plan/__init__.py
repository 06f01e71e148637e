"""What every rule of the DAG reads, derived from the configuration alone.

The rules hold outputs, resources and the command; their inputs and parameters are methods of
`Plan`, so that they can be tested without Snakemake. Each stage of the DAG is a class that
knows the stages before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vovnet.config import (
    ModelSettings,
    Settings,
    check_trained_weights,
    imported_sets,
    is_imported,
    read_layers,
    read_yaml,
    run_settings,
    validate,
)
from vovnet.config.experiments import experiment_sets, trained_runs, with_matched
from vovnet.core.errors import ConfigError
from vovnet.core.layout import ROUTER_FIT
from vovnet.data.formats import check_formats
from vovnet.evaluation.questions import scorer_of
from vovnet.model.architectures import model_flops
from vovnet.model.loading import check_base_model
from vovnet.policies.experiments import experiment_views, resolve_experiment, uses_router_fit
from vovnet.views import parse_view
from workflow.boundary import ends_in_one_line
from workflow.machine import check_results_folder, find_commands
from workflow.plan.reports import ReportPlan

PROJECT = Path(__file__).resolve().parents[2]

NAME = r"[A-Za-z0-9][\w.-]{0,99}"
"""What names of datasets, splits, sets, runs and experiments look like: they become paths."""


@ends_in_one_line()
def check_default(path: str) -> None:
    """Refuse the file below every suite that does not stand alone, before Snakemake reads it.

    Snakemake does without it where it is missing, and does not name it where it is no YAML.
    """
    if not Path(path).exists():
        raise ConfigError(
            f"{path}: file not found in {Path.cwd()}: call Snakemake in the project's folder, or"
            f" with --directory {PROJECT}"
        )
    if not read_yaml(path):
        raise ConfigError(f"{path}: expected a mapping of keys, it is empty")


@ends_in_one_line()
def make_plan(config: Mapping[str, Any], files: Iterable[Any] = ()) -> Plan:
    """The plan of a configuration, read from `files`; a wrong one ends Snakemake with one line."""
    find_commands()
    files = list(files)
    read_layers(files)  # Snakemake lets the last of two equal keys win
    settings = validate(config, " + ".join(map(str, files)) or "configuration")
    check_results_folder(settings.layout.root)
    return Plan(settings)


@ends_in_one_line()
def check_target(name: str, rules: Iterable[str]) -> None:
    """Refuse a target that is neither a rule nor looks like a file."""
    if "/" in name or Path(name).exists():
        return
    alike = get_close_matches(name, list(rules))
    hint = f", did you mean {' or '.join(alike)}?" if alike else ""
    raise ConfigError(f"{name}: there is no such target{hint}")


class Plan(ReportPlan):
    """Inputs and parameters of the rules. Methods that take wildcards are input functions."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        _check_names(settings)
        check_formats(settings)
        # A fault of policies is an error before any job: that of a source before what copies it.
        for name in sorted(
            settings.experiments, key=lambda name: len(with_matched(settings, name))
        ):
            resolve_experiment(settings, name)
        for run in trained_runs(settings):
            _check_devices(settings, run)
        for run in settings.runs:
            if is_imported(settings, run):
                _check_imported(settings, run)
            else:
                _check_run(settings, run)
        for dataset in settings.data.datasets:
            scorer_of(settings, dataset)


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
                raise ConfigError(
                    f"{key}: {name!r} must be at most 100 letters, digits, '_', '.' or '-'"
                )
    layout = settings.layout
    for dataset in settings.data.datasets:
        if layout.data(dataset) in (layout.leakage_report, layout.left_out):
            raise ConfigError(f"data.datasets: the name {dataset!r} is taken by the leakage gate")
    if ROUTER_FIT in settings.data.eval_sets:
        raise ConfigError(f"data.eval_sets: the name {ROUTER_FIT!r} is taken by data.router_fit")


def _check_run(settings: Settings, run: str) -> None:
    """What the jobs of a run would be told much later."""
    value, used = run_settings(settings, run), {item.run for item in settings.experiments.values()}
    try:
        check_base_model(value.model)
        _check_layers(settings, run, value.model)
        if run in used and run in trained_runs(settings):
            check_trained_weights(value.model)
            if not value.data.train:
                raise ConfigError("data.train: the run is trained, expected at least one part")
    except ConfigError as error:
        raise ConfigError(f"runs.{run}: {error}") from None


def _check_imported(settings: Settings, run: str) -> None:
    """Every view that an experiment shows needs a log of every set, and each log its file."""
    sets, key = imported_sets(settings, run), f"runs.{run}.imported"
    for name, logged in sets.items():
        if name not in (*settings.data.eval_sets, ROUTER_FIT):
            raise ConfigError(f"{key}: {name!r} is not in data.eval_sets")
        for view, item in logged.views.items():
            if not Path(item.file).is_file():
                raise ConfigError(f"{key}.{name}.views.{view}.file: {item.file}: file not found")
    for experiment, stanza in settings.experiments.items():
        names = experiment_sets(settings, experiment) if stanza.run == run else []
        fitted = [ROUTER_FIT] if names and uses_router_fit(settings, experiment) else []
        for name in (*names, *fitted):
            if name not in sets:
                raise ConfigError(f"{key}: there is no log of set {name!r}")
            further = [] if name in fitted else experiment_views(settings, experiment)
            for view in (*settings.actions, *further):
                if view not in sets[name].views:
                    raise ConfigError(f"{key}.{name}.views: there is no log of the view {view!r}")


def _check_layers(settings: Settings, run: str, model: ModelSettings) -> None:
    """Views that drop tokens inside the model need layers behind; one of the hub has enough."""
    if not Path(model.base_model_name).is_dir():
        return
    names = [name for name, item in settings.experiments.items() if item.run == run]
    shown = {view: name for name in names for view in experiment_views(settings, name)}
    for view, name in shown.items():
        if (dropping := parse_view(view).dropping) is not None:
            try:
                model_flops(model).language_model.check(dropping)
            except ConfigError as error:
                raise ConfigError(f"experiments.{name}: {error}") from None


def _check_devices(settings: Settings, run: str) -> None:
    count = run_settings(settings, run).training.num_processes
    gpus = settings.resources.train.gpu
    if gpus not in (0, count):
        raise ConfigError(
            f"resources.train.gpu is {gpus} and training.num_processes of run {run!r} is {count},"
            " they must be equal"
        )

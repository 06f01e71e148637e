"""What every rule of the DAG reads, derived from the configuration alone.

The rules hold outputs, resources and the command; their inputs and parameters are methods of
`Plan`, so that they can be tested without Snakemake. Each stage of the DAG is a class that
knows the stages before it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from vovnet.config import Settings, run_settings, validate
from vovnet.config.experiments import trained_runs
from vovnet.core.errors import ConfigError, VovnetError
from vovnet.core.layout import ROUTER_FIT
from vovnet.data.formats import check_formats
from vovnet.policies.experiments import resolve_experiment
from workflow.machine import find_commands
from workflow.plan.reports import ReportPlan

NAME = r"[A-Za-z0-9][\w.-]*"
"""What names of datasets, splits, sets, runs and experiments look like: they become paths."""


def make_plan(config: Mapping[str, Any], files: Iterable[Any] = ()) -> Plan:
    """The plan of a configuration, read from `files`; a wrong one ends Snakemake with one line."""
    find_commands()
    try:
        return Plan(validate(config, " + ".join(map(str, files)) or "configuration"))
    except VovnetError as error:
        sys.exit(f"vovnet: error: {error}")


class Plan(ReportPlan):
    """Inputs and parameters of the rules. Methods that take wildcards are input functions."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        _check_names(settings)
        check_formats(settings)
        for run in trained_runs(settings):
            _check_devices(settings, run)
        for name in settings.experiments:
            resolve_experiment(settings, name)  # a fault of its policies is an error before any job


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

"""What the report reads: the results of every experiment, and those of the mixing hull.

Rows keep the order of the configuration: evaluation sets as in `data.eval_sets`,
experiments by role (baselines, VoVNet, references) and then as in `experiments`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vovnet.config import Settings
from vovnet.config.experiments import experiment_seeds
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.layout import Layout
from vovnet.evaluation.columns import (
    HULL_FILES,
    SETTINGS,
    read_columns,
    read_results,
    result_columns,
)
from vovnet.pipeline.manifest import write_manifest

ROLES = ("fixed", "heuristic", "random", "vovnet", "reference")


@dataclass(frozen=True)
class Inputs:
    """The evaluation's results; `points` has a row per experiment, dataset, seed and sweep point.

    To the columns of results.csv, `points` adds `title`, `role`, `mode` and `point`, the index
    of the sweep point.
    """

    settings: Settings
    layout: Layout
    points: pd.DataFrame
    hull: pd.DataFrame
    curves: pd.DataFrame
    equal_cost: pd.DataFrame

    @property
    def files(self) -> list[Path]:
        """The files behind the tables."""
        results = [self.layout.eval(name) / "results.csv" for name in self.settings.experiments]
        return [*results, *(self.layout.hull / name for name in HULL_FILES)]

    @property
    def actions(self) -> list[str]:
        """The views that a policy may choose, cheapest first."""
        return self.settings.actions

    @property
    def setting_columns(self) -> list[str]:
        """The columns that tell the points of a sweep apart, those of plug-ins last."""
        known = {*result_columns(self.actions), "title", "role", "mode", "point"}
        numeric = map(str, self.points.select_dtypes("number"))
        return [*SETTINGS, *(name for name in numeric if name not in known)]

    def datasets(self) -> list[str]:
        """The evaluation sets that have results."""
        return list(dict.fromkeys(self.points["dataset"]))

    def experiments(self, *baselines: str) -> list[str]:
        """Replayed experiments with one of these `baseline_name`s ("" is the learned policy)."""
        chosen = of(self.points, mode="replay")
        chosen = chosen[chosen["baseline_name"].isin(baselines)]
        return list(dict.fromkeys(chosen["experiment"]))

    def main(self, dataset: str) -> str | None:
        """The experiment that stands for VoVNet on a dataset: its first sweep of lambda_cost."""
        rows = of(self.points, dataset=dataset, role="vovnet", mode="replay")
        names = list(dict.fromkeys(rows["experiment"]))
        swept = [name for name in names if "lambda_cost" in self.settings.experiments[name].sweep]
        return next(iter(swept + names), None)

    def main_run(self) -> tuple[str, list[int]]:
        """The run and the seeds of VoVNet, for the figures of its training."""
        for dataset in self.datasets():
            name = self.main(dataset)
            if name is not None:
                run = self.settings.experiments[name].run
                return run, experiment_seeds(self.settings, name)
        raise ConfigError("experiments: none has the role 'vovnet', the report needs one")


def load_inputs(settings: Settings, layout: Layout) -> Inputs:
    """Read the results of every experiment, and their comparison with the mixing hull."""
    tables = [
        _ordered(settings, read_columns(layout.hull / name, columns))
        for name, columns in HULL_FILES.items()
    ]
    return Inputs(settings, layout, load_points(settings, layout), *tables)


def load_points(settings: Settings, layout: Layout) -> pd.DataFrame:
    """The results of every experiment of the configuration."""
    if not settings.experiments:
        raise ConfigError("experiments: the report needs at least one")
    frames = []
    for name, experiment in settings.experiments.items():
        path = layout.eval(name) / "results.csv"
        frame = read_results(path)
        if frame.empty:
            raise DataError(f"{path}: no rows, expected one per dataset, seed and sweep point")
        facts = {"title": experiment.title, "role": experiment.role, "mode": experiment.mode}
        point = frame.groupby(["dataset", "seed"], sort=False).cumcount()
        frames.append(frame.assign(experiment=name, **facts, point=point))
    columns = dict.fromkeys(column for frame in frames for column in frame.columns)
    filled = [frame.dropna(axis="columns", how="all") for frame in frames]
    return _ordered(settings, pd.concat(filled, ignore_index=True).reindex(columns=list(columns)))


def of(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows in which every named column has the given value."""
    for column, value in values.items():
        frame = frame[frame[column] == value]
    return frame


def over_seeds(
    frame: pd.DataFrame,
    by: Sequence[str],
    measures: Iterable[str],
    averages: Iterable[str] = (),
) -> pd.DataFrame:
    """Mean and standard deviation (ddof 1) over seeds: `<measure>_mean`, `<measure>_sd`.

    `averages` are only averaged and keep their name; interval ends are such columns. A value
    that no seed measured stays empty, and so does the deviation of a single seed.
    """
    groups = frame.groupby(list(by), sort=False, dropna=False)
    columns: dict[str, pd.Series] = {"num_seeds": groups["seed"].nunique()}
    for name in averages:
        columns[name] = groups[name].mean()
    for name in measures:
        columns[f"{name}_mean"] = groups[name].mean()
        columns[f"{name}_sd"] = groups[name].std(ddof=1)
    return pd.DataFrame(columns).reset_index()


def named(layout: Layout, paths: Iterable[Path]) -> dict[str, Path]:
    """Files by their path below the results folder, as manifests name them."""
    return {path.relative_to(layout.root).as_posix(): path for path in paths}


def finish(
    manifest: Path,
    step: str,
    settings: Settings,
    layout: Layout,
    read: Iterable[Path],
    written: list[Path],
) -> list[Path]:
    """Write the manifest of a step of the report, which completes it; returns what was written."""
    files = {"inputs": named(layout, read), "outputs": named(layout, written)}
    write_manifest(manifest, step=step, settings=settings, **files)
    return written


def _ordered(settings: Settings, frame: pd.DataFrame) -> pd.DataFrame:
    ranks = {
        "dataset": {name: rank for rank, name in enumerate(settings.data.eval_sets)},
        "role": {name: rank for rank, name in enumerate(ROLES)},
        "experiment": {name: rank for rank, name in enumerate(settings.experiments)},
    }
    keys = [key for key in ranks if key in frame.columns]
    order = pd.DataFrame(
        {key: frame[key].map(ranks[key]).fillna(len(ranks[key])) for key in keys}
    ).sort_values(keys, kind="stable")
    return frame.loc[order.index].reset_index(drop=True)

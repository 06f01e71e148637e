"""What the report reads: the results of every experiment, hull metrics, logs, calibration.

Rows keep the order of the configuration: evaluation sets as in `data.eval_sets`,
experiments by role (baselines, VoVNet, references) and then as in `experiments`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vovnet.config import Experiment, Settings, policy_points, run_settings
from vovnet.config.experiments import stage1_owner
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.evaluation.columns import read_results

ROLES = ("fixed", "heuristic", "random", "vovnet", "reference")
POINT_COLUMNS = (
    "lambda_cost",
    "threshold",
    "pruning_ratio",
    "merge_ratio",
    "pool_factor",
    "long_side",
    "max_pixels",
)
GAINS = ("gain_at_25", "gain_at_50", "gain_at_75")
HULL_SCORES = ("hull_to_oracle_captured", "hull_to_bayes_captured", "apgr", "aiq", "mcc")
HULL_COLUMNS = (
    "dataset",
    "experiment",
    "role",
    "title",
    "seed",
    *(name + end for name in GAINS for end in ("", "_lo", "_hi")),
    *HULL_SCORES,
)
CURVE_COLUMNS = ("dataset", "experiment", "seed", "avg_cost", "accuracy")
EQUAL_COLUMNS = (
    "dataset",
    "experiment",
    "title",
    "run",
    "at",
    "avg_cost",
    "reference",
    "reference_run",
    "within_range",
    "num_seeds",
    *(f"gain{end}" for end in ("", "_sd", "_lo", "_hi")),
    "verdict",
)
MIXING_HULL = "mixing_hull"
"""The name under which curves.csv holds what random mixing of the fixed policies reaches."""


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

    def files(self) -> dict[str, Path]:
        """The files behind the tables, by name."""
        paths = [result_file(self.layout, name) for name in self.settings.experiments]
        return named(self.layout, [*paths, *hull_files(self.layout)])

    def datasets(self) -> list[str]:
        return list(dict.fromkeys(self.points["dataset"]))

    def experiments(
        self, *baselines: str, dataset: str | None = None, mode: str = "replay"
    ) -> list[str]:
        """Experiments with one of these `baseline_name`s ("" is the learned policy) and results."""
        points = self.points if dataset is None else of(self.points, dataset=dataset)
        chosen = of(points, mode=mode)
        chosen = chosen[chosen["baseline_name"].isin(baselines)]
        return list(dict.fromkeys(chosen["experiment"]))

    def main(self, dataset: str) -> str | None:
        """The experiment that stands for VoVNet on a dataset: its first sweep of lambda_cost."""
        names = list(dict.fromkeys(of(self.points, dataset=dataset, role="vovnet")["experiment"]))
        stanzas = self.settings.experiments
        names = [name for name in names if stanzas[name].mode == "replay"]
        swept = [name for name in names if "lambda_cost" in stanzas[name].sweep]
        return next(iter(swept + names), None)

    def main_run(self) -> tuple[str, list[int]]:
        """The run and the seeds of VoVNet, for the figures of its training."""
        for dataset in self.datasets():
            name = self.main(dataset)
            if name is not None:
                experiment = self.settings.experiments[name]
                return experiment.run, seeds_of(self.settings, experiment)
        raise ConfigError("experiments: none has the role 'vovnet', the report needs one")


def load_inputs(settings: Settings, layout: Layout) -> Inputs:
    hull, curves, equal_cost = hull_files(layout)
    return Inputs(
        settings,
        layout,
        load_points(settings, layout),
        _ordered(settings, _read_csv(hull, HULL_COLUMNS)),
        _ordered(settings, _read_csv(curves, CURVE_COLUMNS)),
        _ordered(settings, _read_csv(equal_cost, EQUAL_COLUMNS)),
    )


def load_points(settings: Settings, layout: Layout) -> pd.DataFrame:
    """The results of every experiment of the configuration."""
    if not settings.experiments:
        raise ConfigError("experiments: the report needs at least one")
    frames = []
    for name, experiment in settings.experiments.items():
        path = result_file(layout, name)
        frame = read_results(path)
        if frame.empty:
            raise DataError(f"{path}: no rows, expected one per dataset, seed and sweep point")
        point = frame.groupby(["dataset", "seed"], sort=False).cumcount()
        frames.append(
            frame.assign(
                experiment=name,
                title=experiment.title,
                role=experiment.role,
                mode=experiment.mode,
                point=point,
            )
        )
    columns = frames[0].columns
    filled = [frame.dropna(axis="columns", how="all") for frame in frames]
    return _ordered(settings, pd.concat(filled, ignore_index=True).reindex(columns=columns))


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


def point_label(settings: Settings, name: str, point: int) -> str:
    """The swept value of a point as a reader wants it, such as "λ = 0.02"; "" without a sweep."""
    experiment = settings.experiments[name]
    policy = policy_points(settings, name)[point]
    swept = ["lambda_cost"] if experiment.match else list(experiment.sweep)
    if not swept and experiment.role == "vovnet":
        swept = ["lambda_cost"]
    symbols = {
        "lambda_cost": "λ",
        "baseline_threshold": "t",
        "baseline_pruning_ratio": "keep",
        "baseline_merge_ratio": "keep",
        "baseline_pool_factor": "factor",
        "baseline_long_side": "side",
        "baseline_max_pixels": "pixels",
    }
    return ", ".join(f"{symbols.get(key, key)} = {_plain(getattr(policy, key))}" for key in swept)


def load_train_log(settings: Settings, layout: Layout, run: str, seeds: list[int]) -> pd.DataFrame:
    """The lines of both stages' logs with a `seed` column; a step logged twice counts once."""
    frames = []
    for path, seed, stage in train_logs(settings, layout, run, seeds):
        lines = _log_lines(path)
        if not lines:
            raise DataError(f"{path}: no lines, expected the log of stage {stage}")
        frame = pd.DataFrame(lines).drop_duplicates("step", keep="last").sort_values("step")
        frames.append(frame.assign(seed=seed, folder_stage=stage))
    return pd.concat(frames, ignore_index=True)


def train_logs(
    settings: Settings, layout: Layout, run: str, seeds: list[int]
) -> list[tuple[Path, int, int]]:
    """(file, seed, stage) of every log of a run; stage 1 may belong to another run."""
    owners = {1: stage1_owner(settings, run), 2: run}
    return [
        (layout.stage(owner, seed, stage) / "train_log.jsonl", seed, stage)
        for stage, owner in owners.items()
        for seed in seeds
    ]


def calibration_files(settings: Settings, layout: Layout, run: str, seeds: list[int]) -> list[Path]:
    """The calibration of each seed; none where the configuration asks for no calibration."""
    if run_settings(settings, run).training.calibration_samples == 0:
        return []
    return [layout.stage(run, seed, 2) / "calibration.json" for seed in seeds]


def load_calibration(
    settings: Settings, layout: Layout, run: str, seeds: list[int]
) -> pd.DataFrame:
    """A row per seed, pair of actions and bin: predicted, measured, count, ece, slope."""
    rows = []
    for seed, path in zip(seeds, calibration_files(settings, layout, run, seeds), strict=False):
        try:
            for pair, value in read_json(path)["pairs"].items():
                facts = {"seed": seed, "pair": pair, "ece": value["ece"], "slope": value["slope"]}
                rows += [facts | item for item in value["bins"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: expected pairs with ece, slope and bins ({error})") from None
    columns = ["seed", "pair", "ece", "slope", "predicted", "measured", "count"]
    return pd.DataFrame(rows, columns=columns)


def seeds_of(settings: Settings, experiment: Experiment) -> list[int]:
    return experiment.seeds if experiment.seeds is not None else settings.seeds


def result_file(layout: Layout, experiment: str) -> Path:
    return layout.eval(experiment) / "results.csv"


def hull_files(layout: Layout) -> tuple[Path, Path, Path]:
    names = ("hull_metrics.csv", "curves.csv", "equal_cost.csv")
    hull, curves, equal_cost = (layout.hull / name for name in names)
    return hull, curves, equal_cost


def named(layout: Layout, paths: Iterable[Path]) -> dict[str, Path]:
    """Files by their path below the results folder, as manifests name them."""
    return {path.relative_to(layout.root).as_posix(): path for path in paths}


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


def _read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path)
    except FileNotFoundError:
        raise DataError(f"{path}: file not found") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: not a readable CSV file ({error})") from None
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing")
    return frame


def _log_lines(path: Path) -> list[dict[str, float]]:
    """The lines of a training log; a last line that a killed process left torn is dropped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        raise DataError(f"{path}: file not found") from None
    values = []
    for number, line in enumerate(lines, start=1):
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise DataError(f"{path}, line {number}: not valid JSON ({error.msg})") from None
    return values


def _plain(value: object) -> str:
    if isinstance(value, float):
        return "∞" if math.isinf(value) else f"{value:g}"
    return str(value)

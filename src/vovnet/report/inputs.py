"""What the report reads: results of every experiment and of the mixing hull; and points of sweeps.

Rows keep the order of the configuration: evaluation sets as in `data.eval_sets`,
experiments by role (baselines, VoVNet, references) and then as in `experiments`.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from vovnet.config import PolicySettings, Settings, last_stage, policy_points
from vovnet.config.experiments import experiment_seeds
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.layout import Layout
from vovnet.core.recorded import check_recorded
from vovnet.evaluation import columns as catalogue
from vovnet.evaluation.columns import (
    FLOPS,
    HULL_FILES,
    MS,
    SETTINGS,
    TOKENS,
    Unit,
    rate_columns,
)
from vovnet.evaluation.compared import check_target, is_target, main_experiment
from vovnet.pipeline.manifest import write_manifest
from vovnet.policies import kind_of
from vovnet.policies.fixed import is_plain

ROLES = ("fixed", "heuristic", "random", "vovnet", "reference")
METHOD = ("dataset", "experiment", "title", "role", "mode")
SAME = ["run", "dataset", "seed", "num_samples"]
"""Rows that agree in these columns are about the same model and the same questions."""

TOLERANCE = 1e-9
"""Differences of shares, costs and accuracies up to which two values are equal."""

REFERENCES = {"mixing_hull": "mixing", "resolution": "resolution"}
"""What gains at equal cost are over -> how the columns about it end."""

HALF, OWN = "50", "own"
"""Where a verdict is told in words: at half of FULL's cost, a single point at its own."""


class Compared(NamedTuple):
    """The comparison with the mixing hull in one unit of cost."""

    hull: pd.DataFrame
    curves: pd.DataFrame
    equal_cost: pd.DataFrame
    captured: pd.DataFrame
    references: pd.DataFrame


@dataclass(frozen=True)
class Inputs:
    """The evaluation's results; `points` has a row per experiment, dataset, seed and sweep point.

    The comparison with the mixing hull counts vision tokens; `others` has it in other units.

    To the columns of results.csv, `points` adds `title`, `role`, `mode` and `point`, the index
    of the sweep point.
    """

    settings: Settings
    layout: Layout
    points: pd.DataFrame
    hull: pd.DataFrame
    curves: pd.DataFrame
    equal_cost: pd.DataFrame
    captured: pd.DataFrame
    references: pd.DataFrame
    strata: pd.DataFrame
    deployable: pd.DataFrame
    kinds: pd.DataFrame
    others: Mapping[Unit, Compared] = field(default_factory=dict)

    def counted(self, unit: Unit) -> Compared:
        """The comparison with the mixing hull in a unit."""
        own = (self.hull, self.curves, self.equal_cost, self.captured, self.references)
        return Compared(*own) if unit == TOKENS else self.others[unit]

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
    def blind_rate(self) -> str:
        """The column of how often a policy takes the cheapest view, which is NO but in logs."""
        return rate_columns(self.actions)[0]

    @property
    def setting_columns(self) -> list[str]:
        """The columns that tell the points of a sweep apart, those of plug-ins last."""
        known = {*catalogue.result_columns(self.actions), "title", "role", "mode", "point"}
        numeric = map(str, self.points.select_dtypes("number"))
        return [*SETTINGS, *(name for name in numeric if name not in known)]

    def datasets(self) -> list[str]:
        """The evaluation sets that have results."""
        return list(dict.fromkeys(self.points["dataset"]))

    def runs(self) -> dict[str, list[int]]:
        """The runs of all experiments -> their seeds."""
        found: dict[str, dict[int, None]] = {}
        for name, item in self.settings.experiments.items():
            seeds = experiment_seeds(self.settings, name)
            found.setdefault(item.run, {}).update(dict.fromkeys(seeds))
        return {run: list(seeds) for run, seeds in found.items()}

    def trained_runs(self) -> dict[str, list[int]]:
        """Those of them that are trained in both stages -> their seeds."""
        runs = self.runs().items()
        return {run: seeds for run, seeds in runs if last_stage(self.settings, run) == 2}

    def experiments(self, *baselines: str) -> list[str]:
        """Replayed experiments with one of these `baseline_name`s ("" is the learned policy)."""
        chosen = of(self.points, mode="replay")
        chosen = chosen[chosen["baseline_name"].isin(baselines)]
        return list(dict.fromkeys(chosen["experiment"]))

    def plain(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of policies as they are, which a fallback or a reduction would make others."""
        names = [
            name
            for name in rows["experiment"].unique()
            if all(map(is_plain, policy_points(self.settings, name)))
        ]
        return rows[rows["experiment"].isin(names)]

    def main(self, dataset: str) -> str | None:
        """The experiment that stands for VoVNet on a dataset; None where none does."""
        return main_experiment(self.settings, self.settings.experiments, dataset)

    def is_main(self, rows: pd.DataFrame) -> pd.Series:
        """Whether a row is of the experiment that stands for VoVNet on its dataset."""
        mains = {dataset: self.main(dataset) for dataset in self.datasets()}
        return rows["experiment"] == rows["dataset"].map(mains)

    def at_target(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows whose `lambda_cost` is `report.target_lambda`."""
        return rows[are_target(self.settings, rows)]

    def main_run(self) -> tuple[str, list[int]]:
        """The run that figures are about, and its seeds: VoVNet's, or the first where it is not."""
        mains = filter(None, map(self.main, self.datasets()))
        name = next(mains, next(iter(self.settings.experiments)))
        return self.settings.experiments[name].run, experiment_seeds(self.settings, name)

    def trained_main_run(self) -> tuple[str, list[int]] | None:
        """The same where it is trained, for what is about its training."""
        run, seeds = self.main_run()
        return (run, seeds) if last_stage(self.settings, run) == 2 else None

    def twins(self, mode: str, run: str, policy: PolicySettings) -> Iterator[tuple[str, int]]:
        """Experiments of a mode, and their points, with this run and policy and no other aim."""
        for name, item in self.settings.experiments.items():
            if item.mode == mode and item.run == run and not item.compare_cache_reuse:
                points = policy_points(self.settings, name)
                if item.match is None and policy in points:
                    yield name, points.index(policy)


def load_inputs(settings: Settings, layout: Layout) -> Inputs:
    """Read the results of every experiment, and their comparison with the mixing hull."""
    for name in HULL_FILES:
        check_recorded(layout.hull / name, layout.hull / "manifest.json")
    tables = [
        ordered(settings, catalogue.read_columns(layout.hull / name, columns))
        for name, columns in HULL_FILES.items()
    ]
    num_counted = len(Compared._fields)
    units: tuple[Unit, ...] = (TOKENS, FLOPS, MS)
    others = {
        unit: Compared(*(of(table, unit=unit) for table in tables[:num_counted])) for unit in units
    }
    own, (strata, deployable, kinds) = others.pop(TOKENS), tables[num_counted:]
    if not settings.experiments:
        raise ConfigError("experiments: the report needs at least one")
    frames = []
    for name, experiment in settings.experiments.items():
        path = layout.eval(name) / "results.csv"
        frame = read_points(path)
        if frame.empty:
            raise DataError(f"{path}: no rows, expected one per dataset, seed and sweep point")
        facts = {"title": experiment.title, "role": experiment.role, "mode": experiment.mode}
        frames.append(frame.assign(experiment=name, **facts))
    columns = dict.fromkeys(column for frame in frames for column in frame.columns)
    filled = [frame.dropna(axis="columns", how="all") for frame in frames]
    points = pd.concat(filled, ignore_index=True).reindex(columns=list(columns))
    points = ordered(settings, points)
    return Inputs(settings, layout, points, *own, strata, deployable, kinds, others)


def read_points(path: Path) -> pd.DataFrame:
    """The rows of results.csv, and in `point` the index of each one's sweep point."""
    frame = catalogue.read_results(path)
    return frame.assign(point=frame.groupby(["dataset", "seed"], sort=False).cumcount())


def are_target(settings: Settings, rows: pd.DataFrame) -> pd.Series:
    """Whether the `lambda_cost` of rows is `report.target_lambda`."""
    return rows["lambda_cost"].astype(float).map(partial(is_target, settings)).astype(bool)


def of(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows in which every named column has the given value."""
    for column, value in values.items():
        frame = frame[frame[column] == value]
    return frame


def per_seed(rows: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """(dataset, seed, rows), in the order of the rows."""
    for (dataset, seed), found in rows.groupby(["dataset", "seed"], sort=False):
        yield str(dataset), int(str(seed)), found


def each(rows: pd.DataFrame) -> Iterator[tuple[str, int, pd.Series]]:
    """(dataset, seed, row) of every row."""
    for _, row in rows.iterrows():
        yield row["dataset"], row["seed"], row


def ordered(
    settings: Settings, frame: pd.DataFrame, by: Sequence[str] = ("dataset", "role", "experiment")
) -> pd.DataFrame:
    """The rows in the order of the configuration; what it does not name comes last."""
    names = {
        "dataset": list(settings.data.eval_sets),
        "role": list(ROLES),
        "experiment": list(settings.experiments),
    }

    def rank(column: pd.Series) -> pd.Series:
        known = names[str(column.name)]
        return column.map({name: place for place, name in enumerate(known)}).fillna(len(known))

    keys = [name for name in by if name in frame]
    return frame.sort_values(keys, key=rank, kind="stable", ignore_index=True)


def over_seeds(
    frame: pd.DataFrame, by: Sequence[str], measures: Iterable[str], averages: Iterable[str] = ()
) -> pd.DataFrame:
    """Mean and standard deviation (ddof 1) over seeds: `<measure>_mean`, `<measure>_sd`.

    `averages` are only averaged and keep their name; interval ends are such columns. A value that
    some seed does not have is empty, for a mean over the others would be one over fewer seeds than
    is said. So is the deviation of a single seed.
    """
    averages, measures = list(averages), list(measures)
    groups = frame.groupby(list(by), sort=False, dropna=False)
    values = groups[[*averages, *measures]]
    complete = values.count().eq(groups.size(), axis=0)
    means, deviations = (found.where(complete) for found in (values.mean(), values.std(ddof=1)))
    columns: dict[str, pd.Series] = {"num_seeds": groups["seed"].nunique()}
    columns |= {name: means[name] for name in averages}
    for name in measures:
        columns |= {f"{name}_mean": means[name], f"{name}_sd": deviations[name]}
    return pd.DataFrame(columns).reset_index()


def finish(
    manifest: Path,
    step: str,
    settings: Settings,
    layout: Layout,
    read: Iterable[Path],
    written: list[Path],
) -> list[Path]:
    """Write the manifest of a step of the report, which completes it; returns what was written."""
    inputs, outputs = (
        {path.relative_to(layout.root).as_posix(): path for path in paths}
        for paths in (read, written)
    )
    write_manifest(manifest, step=step, settings=settings, inputs=inputs, outputs=outputs)
    return written


# ---- points of sweeps, and gains over the hull -------------------------------------------


def measures(inputs: Inputs) -> tuple[str, ...]:
    """What tables compare: accuracy, cost and the shares of the actions."""
    return ("accuracy", "avg_cost", "avg_vision_tokens", "avg_flops", *rate_columns(inputs.actions))


def summary(inputs: Inputs, extra: tuple[str, ...] = ()) -> pd.DataFrame:
    """Every sweep point over its seeds; `accuracy_lo` and `accuracy_hi` are averaged."""
    averages = ("num_samples", *inputs.setting_columns, "accuracy_lo", "accuracy_hi")
    return over_seeds(inputs.points, (*METHOD, "point"), (*measures(inputs), *extra), averages)


def operating_points(inputs: Inputs) -> pd.DataFrame:
    """One row of `summary` per dataset and replayed method, at comparable cost.

    VoVNet and the matched random policy stand at `report.target_lambda`; any other sweep, also
    that of VoVNet by another objective or `lambda_unit`, at the point whose mean cost is nearest to
    that of VoVNet there, or to half of FULL's where VoVNet was not evaluated.
    """
    points = summary(inputs).pipe(of, mode="replay")
    costs = {dataset: _target_cost(inputs, points, dataset) for dataset in inputs.datasets()}
    chosen = [
        _operating_point(inputs, group, costs[group["dataset"].iloc[0]])
        for _, group in points.groupby(["dataset", "experiment"], sort=False)
    ]
    return points.loc[chosen].reset_index(drop=True)


def operating_note(inputs: Inputs) -> str:
    """Where the operating points are, for captions."""
    if not any(map(inputs.main, inputs.datasets())):
        return "Sweeps at the point nearest to half of FULL's cost."
    return (
        f"VoVNet and the matched random policy at λ = {inputs.settings.report.target_lambda:g};"
        " other sweeps at the point nearest to VoVNet in mean cost."
    )


def _target_cost(inputs: Inputs, points: pd.DataFrame, dataset: str) -> float | None:
    """The mean cost at which methods are compared; None where nothing tells one."""
    name = inputs.main(dataset)
    if name is not None:
        check_target(inputs.settings, [name])
    there = inputs.at_target(of(points, dataset=dataset, experiment=name))
    if len(there):
        return float(there["avg_cost_mean"].iloc[0])
    full = points[points["experiment"].isin(inputs.experiments("always_full"))]
    costs = of(inputs.plain(full), dataset=dataset)["avg_cost_mean"]
    return float(costs.iloc[0]) / 2 if len(costs) else None


def _operating_point(inputs: Inputs, rows: pd.DataFrame, cost: float | None) -> Hashable:
    """The index of the point of one method's sweep that the main table shows."""
    there = inputs.at_target(rows).index
    if len(there) and _follows_target(inputs, rows.iloc[0]):
        return there[0]
    if cost is None or rows["avg_cost_mean"].isna().all():
        return rows.index[0]
    return (rows["avg_cost_mean"] - cost).abs().idxmin()


def _follows_target(inputs: Inputs, row: pd.Series) -> bool:
    """Whether a method's lambda means what that of VoVNet's experiment means.

    Routers and heads pay in shares of right answers, the trained head in nats.
    """
    main, match = inputs.main(row["dataset"]), inputs.settings.experiments[row["experiment"]].match
    if main is None or row["role"] not in ("vovnet", "random"):
        return False
    own = row["experiment"] if match is None else match.experiment
    points = [policy_points(inputs.settings, name)[0] for name in (own, main)]
    first, second = ((kind_of(point).router is None, point.lambda_unit) for point in points)
    return first == second


def equal_cost_gains(inputs: Inputs, unit: Unit = TOKENS) -> pd.DataFrame:
    """equal_cost.csv with both references side by side: columns `*_mixing` and `*_resolution`.

    A row is a curve at a share of FULL's cost, or a point of a sweep, whose number `point` is.
    """
    by = ["dataset", "experiment", "title", "run", "at", "point"]
    frame = inputs.counted(unit).equal_cost.drop(columns=["role", "reference_experiment", "unit"])
    sides = [
        of(frame, reference=reference).drop(columns="reference").set_index(by).add_suffix(f"_{end}")
        for reference, end in REFERENCES.items()
    ]
    rows = sides[0].join(sides[1], how="left").reset_index()
    return rows.assign(at=rows["at"].astype(str), avg_cost=rows["avg_cost_mixing"])


def equal_cost_places(inputs: Inputs) -> pd.DataFrame:
    """Those of them by which methods are compared."""
    return compared(equal_cost_gains(inputs))


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Of rows of equal_cost.csv those of curves at shares, and of single points at their own."""
    shares = rows["at"] != OWN
    curved = rows.loc[shares, ["dataset", "experiment"]].drop_duplicates()
    has_curve = rows.merge(curved, how="left", indicator=True)["_merge"] == "both"
    return rows[shares | ~has_curve.to_numpy()].reset_index(drop=True)

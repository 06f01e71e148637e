"""Sweep points over seeds, the one of each method that tables compare, and gains over the hull."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from vovnet.config import PolicySettings, Settings, policy_points
from vovnet.core.errors import ConfigError
from vovnet.evaluation.columns import (
    CATALOGUE,
    EQUAL_COST_COLUMNS,
    GAIN_SHARES,
    HULL_SCORES,
    SETTINGS,
    rate_columns,
)
from vovnet.report.inputs import Inputs, of, over_seeds

METHOD = ("dataset", "experiment", "title", "role", "mode")
SAME = ["run", "dataset", "seed", "num_samples"]
"""Rows that agree in these columns are about the same model and the same questions."""

TOLERANCE = 1e-9
"""Differences of shares, costs and accuracies up to which two values are equal."""


REFERENCES = {"mixing_hull": "mixing", "resolution": "resolution"}
"""What gains at equal cost are over -> how the columns about it end."""

HALF, OWN = "50", "own"
"""Where a verdict is told in words: at half of FULL's cost, a single point at its own."""

_BY = ["dataset", "experiment", "title", "run", "at"]
_LEFT_OUT = [*_BY, "role", "reference", "reference_experiment"]
_KEPT = [name for name in EQUAL_COST_COLUMNS if name not in _LEFT_OUT]


def measures(inputs: Inputs) -> tuple[str, ...]:
    """What tables compare: accuracy, cost and the shares of the actions."""
    return ("accuracy", "avg_cost", "avg_vision_tokens", *rate_columns(inputs.actions))


def summary(inputs: Inputs, extra: tuple[str, ...] = ()) -> pd.DataFrame:
    """Every sweep point over its seeds; `accuracy_lo` and `accuracy_hi` are averaged."""
    averages = ("num_samples", *inputs.setting_columns, "accuracy_lo", "accuracy_hi")
    return over_seeds(inputs.points, (*METHOD, "point"), (*measures(inputs), *extra), averages)


def operating_points(inputs: Inputs) -> pd.DataFrame:
    """One row of `summary` per dataset and replayed method, at comparable cost.

    VoVNet and the matched random policy stand at `report.target_lambda`; any other sweep at the
    point whose mean cost is nearest to that of VoVNet there.
    """
    target = inputs.settings.report.target_lambda
    points = summary(inputs).pipe(of, mode="replay")
    costs = {dataset: target_cost(inputs, points, dataset) for dataset in inputs.datasets()}
    chosen = [
        operating_point(group, target, costs[group["dataset"].iloc[0]])
        for _, group in points.groupby(["dataset", "experiment"], sort=False)
    ]
    return points.loc[chosen].reset_index(drop=True)


def target_cost(inputs: Inputs, points: pd.DataFrame, dataset: str) -> float | None:
    """VoVNet's mean cost at `report.target_lambda`; None where VoVNet was not evaluated."""
    name, target = inputs.main(dataset), inputs.settings.report.target_lambda
    if name is None:
        return None
    rows = of(points, dataset=dataset, experiment=name)
    there = rows[np.isclose(rows["lambda_cost"], target)]
    if there.empty:
        known = ", ".join(f"{value:g}" for value in rows["lambda_cost"])
        raise ConfigError(
            f"report.target_lambda: {target:g} is not a point of experiment {name!r} ({known})"
        )
    return float(there["avg_cost_mean"].iloc[0])


def operating_point(rows: pd.DataFrame, target_lambda: float, cost: float | None) -> int:
    """The index of the point of one method's sweep that the main table shows."""
    if rows["role"].iloc[0] in ("vovnet", "random"):
        there = rows.index[np.isclose(rows["lambda_cost"], target_lambda)]
        if len(there):
            return int(there.to_numpy()[0])
    if cost is None or rows["avg_cost_mean"].isna().all():
        return int(rows.index.to_numpy()[0])
    nearest = np.nanargmin((rows["avg_cost_mean"] - cost).abs().to_numpy())
    return int(rows.index.to_numpy()[nearest])


def hull_summary(inputs: Inputs) -> pd.DataFrame:
    """The metrics against the hull over seeds; the ends of intervals are averaged."""
    ends = [name + end for name in GAIN_SHARES for end in ("_lo", "_hi")]
    measures = [*GAIN_SHARES, *(column.name for column in HULL_SCORES)]
    return over_seeds(inputs.hull, ("dataset", "experiment", "title", "role"), measures, ends)


def equal_cost_gains(inputs: Inputs) -> pd.DataFrame:
    """equal_cost.csv with both references side by side: columns `*_mixing` and `*_resolution`."""
    sides = [
        of(inputs.equal_cost, reference=reference).set_index(_BY)[_KEPT].add_suffix(f"_{short}")
        for reference, short in REFERENCES.items()
    ]
    rows = sides[0].join(sides[1], how="left").reset_index()
    return rows.assign(at=rows["at"].astype(str), avg_cost=rows["avg_cost_mixing"])


def point_label(settings: Settings, name: str, point: int) -> str:
    """The swept value of a point as a reader wants it, such as "λ = 0.02"; "" without a sweep."""
    experiment = settings.experiments[name]
    policy = policy_points(settings, name)[point]
    swept = ["lambda_cost"] if experiment.match else list(experiment.sweep)
    if not swept and experiment.role == "vovnet":
        swept = ["lambda_cost"]
    return ", ".join(_assignment(policy, key) for key in swept)


def _assignment(policy: PolicySettings, key: str) -> str:
    """A swept setting and its value, named by the symbol of its column of results.csv, if any."""
    first, _, option = key.partition(".")
    name = option or first.removeprefix("baseline_")
    value = getattr(policy, first)[option] if option else getattr(policy, first)
    symbol = CATALOGUE[name].heading if name in SETTINGS else name
    return f"{symbol} = {plain(value)}"


def plain(value: object) -> str:
    """A setting's value in the fewest digits, infinity as its sign."""
    if isinstance(value, float):
        return "∞" if math.isinf(value) else f"{value:g}"
    return str(value)

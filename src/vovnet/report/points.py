"""Sweep points over seeds, the one of each method that tables compare, and how they are worded."""

from __future__ import annotations

import numpy as np
import pandas as pd

from vovnet.core.errors import ConfigError
from vovnet.report.inputs import POINT_COLUMNS, Inputs, of, over_seeds
from vovnet.report.render import DASH, numbers, with_deviation

RATES = ("action_rate_no", "action_rate_coarse", "action_rate_full")
MEASURES = ("accuracy", "avg_cost", "avg_vision_tokens", *RATES)
METHOD = ("dataset", "experiment", "title", "role", "mode")


def summary(inputs: Inputs, extra: tuple[str, ...] = ()) -> pd.DataFrame:
    """Every sweep point over its seeds; `accuracy_lo` and `accuracy_hi` are averaged."""
    averages = ("num_samples", *POINT_COLUMNS, "accuracy_lo", "accuracy_hi")
    return over_seeds(inputs.points, (*METHOD, "point"), (*MEASURES, *extra), averages)


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


def accuracy_text(rows: pd.DataFrame) -> pd.Series:
    """Percent, with the deviation over seeds."""
    return with_deviation(100 * rows["accuracy_mean"], 100 * rows["accuracy_sd"])


def shares_text(rows: pd.DataFrame) -> pd.Series:
    """Shares of NO, COARSE and FULL in percent; a dash for views that are no action."""
    no, coarse, full = (numbers(100 * rows[f"{name}_mean"], digits=0) for name in RATES)
    return (no + " / " + coarse + " / " + full).where(rows["action_rate_no_mean"].notna(), DASH)

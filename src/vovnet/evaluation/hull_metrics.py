"""Every replayed policy against the mixing hull: hull_metrics.csv, curves.csv, equal_cost.csv.

The mixing hull is what random mixing of the three fixed policies reaches. It is taken from the
observations of the same trained model and questions as the policy, and both are resampled
together. Accuracies are shares in [0, 1], gains are percentage points.

Shapes: N rows, U questions, A actions, P points of a policy, B resamples, of which the first
is the data itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vovnet.config import Settings
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.core.stats import aiq, apgr, captured_share, mcc, percentile_interval
from vovnet.evaluation.columns import (
    CURVE_COLUMNS,
    GAIN_SHARES,
    HULL_FILES,
    MIXING_HULL,
    Row,
    write_csv,
)
from vovnet.evaluation.equal_cost import equal_cost_rows
from vovnet.evaluation.references import Comparison, Decided, Ground, Points, hull_gains
from vovnet.pipeline.manifest import write_manifest

MCC_SHARE = 0.5
"""Policies decide more or less often to look; they are compared near this share of FULL's cost."""


def hull_metrics(settings: Settings, layout: Layout) -> list[Path]:
    """Write hull_metrics.csv, curves.csv, equal_cost.csv and, last, their manifest.json."""
    names = [name for name, item in settings.experiments.items() if item.mode == "replay"]
    if not names:
        raise ConfigError("experiments: hull metrics need at least one with mode: replay")
    comparison = Comparison(settings, layout, names)
    metrics: list[Row] = []
    curves: list[Row] = []
    equal_cost: list[Row] = []
    for dataset in settings.data.eval_sets:
        for name in names:
            experiment = comparison.experiments[name]
            if dataset not in experiment.sets:
                continue
            reached: dict[int, Points] = {}
            for seed in experiment.seeds:
                ground = comparison.ground(name, dataset, seed)
                row, points, reached[seed] = _rows(comparison, name, dataset, seed, ground)
                metrics.append(row)
                curves += points
            equal_cost += equal_cost_rows(comparison, name, dataset, reached)
        comparison.forget_set()
    paths = [layout.hull / name for name in HULL_FILES]
    tables = (metrics, curves, equal_cost)
    for path, rows, columns in zip(paths, tables, HULL_FILES.values(), strict=True):
        write_csv(path, rows, columns)
    write_manifest(
        layout.hull / "manifest.json",
        step="hull_metrics",
        settings=settings,
        inputs={name: results.path for name, results in comparison.samples.items()},
        outputs={path.name: path for path in paths},
    )
    return paths


def _rows(
    comparison: Comparison, name: str, dataset: str, seed: int, ground: Ground
) -> tuple[Row, list[Row], Points]:
    """An experiment's row of hull_metrics.csv, those of curves.csv, and its points.

    Fixed policies and single points have no curve, so that only AIQ and MCC are defined
    for them. VoVNet's curve brings its hull along.
    """
    decided = comparison.decided(name, dataset, seed, ground)
    points = decided.points(ground)
    keys = comparison.keys(name, dataset, seed)
    metrics = keys | _point_metrics(ground.measured, points.measured, decided)
    if comparison.has_curve(name):
        metrics |= _gains(ground, points) | _curve_metrics(ground.measured, points.measured)
    curves = _curve_rows(keys, points)
    if name == comparison.main:
        facts = {"experiment": MIXING_HULL, "role": "reference", "title": "Mixing hull"}
        knots = Points(ground.hull.costs, ground.hull.accuracies)
        curves = [*_curve_rows(keys | facts, knots), *curves]
    return metrics, curves, points


def _point_metrics(ground: Ground, points: Points, decided: Decided) -> Row:
    """AIQ, and MCC at the point whose cost is nearest to `MCC_SHARE` of FULL's."""
    ends = ground.with_no(points)
    target = MCC_SHARE * ground.full_cost[0]
    point = int(np.abs(points.costs[0] - target).argmin())
    return {
        "aiq": float(aiq(ends.costs, ends.accuracies, ground.full_cost)[0]),
        "mcc": mcc(decided.actions[:, point] != 0, ground.needed_N),
        "mcc_point": point,
    }


def _gains(ground: Ground, points: Points) -> Row:
    """Percentage points over the hull at shares of FULL's cost, with paired intervals."""
    gains_BQ = hull_gains(ground, points)
    low_Q, high_Q = percentile_interval(gains_BQ[1:])
    row: Row = {}
    for name, gain, low, high in zip(GAIN_SHARES, gains_BQ[0], low_Q, high_Q, strict=True):
        row |= {name: float(gain), f"{name}_lo": float(low), f"{name}_hi": float(high)}
    return row


def _curve_metrics(ground: Ground, points: Points) -> Row:
    """Areas under a policy's curve, up to what a perfect choice and the Bayes router reach."""
    curve, full_cost = ground.curve(points), ground.full_cost
    references = {"oracle": ground.best}
    if ground.bayes is not None:
        references["bayes"] = ground.curve(ground.bayes)
    row: Row = {
        f"hull_to_{name}_captured": float(
            captured_share(curve, ground.hull, reference, full_cost)[0]
        )
        for name, reference in references.items()
    }
    no_B = ground.fixed.accuracies[:, 0]
    return row | {"apgr": float(apgr(curve, no_B, ground.full_accuracy, full_cost)[0])}


def _curve_rows(keys: Row, points: Points) -> list[Row]:
    low_P, high_P = percentile_interval(points.accuracies[1:])
    return [
        keys | {"point": point} | dict(zip(CURVE_COLUMNS[-4:], map(float, values), strict=True))
        for point, values in enumerate(
            zip(points.costs[0], points.accuracies[0], low_P, high_P, strict=True)
        )
    ]

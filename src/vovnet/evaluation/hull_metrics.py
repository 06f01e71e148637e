"""Every policy against the mixing hull: hull_metrics.csv, curves.csv, equal_cost.csv.

captured.csv, references.csv (`vovnet.evaluation.ceilings`), strata.csv, kinds.csv and
deployable.csv are written beside them.

The mixing hull is what random mixing of the fixed policies reaches. It is taken from the
observations of the same trained model and questions as the policy, and both are resampled
together. Accuracies are shares in [0, 1], gains are percentage points.

A policy that has a frontier is measured on all its operating points, whatever its experiment
sweeps, and so are the references; the points of the sweep are rows of equal_cost.csv.

Everything is told by vision tokens, the cost of the contracts, and once more by counted FLOPs; what
is between not looking and FULL is divided alike. Live runs add what they measured in milliseconds.

Shapes: N rows, A actions, P points of a policy, B resamples, of which the first is the data itself.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vovnet.config import Settings
from vovnet.core import vocabulary
from vovnet.core.arrays import Floats, Ints
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.core.resampling import percentile_interval
from vovnet.core.stats import Curves, aiq, apgr, captured_share, mcc
from vovnet.evaluation.ceilings import Ceilings
from vovnet.evaluation.columns import (
    BY_TEXT,
    GAIN_SHARES,
    HULL_FILES,
    MIXING_HULL,
    TEXT_REFERENCE,
    Row,
    Unit,
    write_csv,
)
from vovnet.evaluation.deployable import deployable_rows, live_deployable_rows
from vovnet.evaluation.equal_cost import equal_cost_rows, judge
from vovnet.evaluation.expected import head_policies
from vovnet.evaluation.ground import Ground, Points, Reached, hull_gains
from vovnet.evaluation.live_gains import LiveComparison, live_rows
from vovnet.evaluation.references import Comparison
from vovnet.evaluation.strata import kind_rows, strata_rows
from vovnet.pipeline.manifest import write_manifest

MCC_SHARE = 0.5
"""Policies decide more or less often to look; they are compared near this share of FULL's cost."""


def hull_metrics(settings: Settings, layout: Layout) -> list[Path]:
    """Write the files of `HULL_FILES` and, last, their manifest.json."""
    names = [name for name, item in settings.experiments.items() if item.mode == "replay"]
    if not names:
        raise ConfigError("experiments: hull metrics need at least one with mode: replay")
    comparison = Comparison(settings, layout, names, head_policies(settings.policy))
    ceilings, live = Ceilings(comparison), LiveComparison(settings, layout)
    captured: list[Row] = []
    references: list[Row] = []
    strata: list[Row] = []
    deployable: list[Row] = []
    kinds: list[Row] = []
    metrics: list[Row] = []
    curves: list[Row] = []
    equal_cost: list[Row] = []
    for dataset in settings.data.eval_sets:
        for name in names:
            experiment = comparison.experiments[name]
            if dataset not in experiment.sets:
                continue
            units = comparison.units(name, dataset, experiment.seeds[0])
            reached, decided = (
                {seed: points(name, dataset, seed, units) for seed in experiment.seeds}
                for points in (comparison.reached, comparison.decided)
            )
            for unit in units:
                own: dict[int, Curves] = {}
                for seed, found in reached.items():
                    row, curve = _metrics(comparison, name, dataset, seed, unit, found)
                    metrics.append(row)
                    curves += _curve(comparison, ceilings, name, dataset, seed, unit, found)
                    own |= {} if curve is None else {seed: curve}
                points = {seed: found.points[unit] for seed, found in decided.items()}
                equal_cost += equal_cost_rows(comparison, name, dataset, points, own, unit)
                captured += ceilings.captured(name, dataset, own, unit)
            deployable += deployable_rows(comparison, name, dataset)
            strata_of = ceilings.strata(name, dataset)
            strata += strata_rows(comparison, name, dataset, strata_of)
            if name == comparison.main:
                kinds += kind_rows(comparison, name, dataset, strata_of)
        references += ceilings.reached(dataset)
        equal_cost += live_rows(live, dataset)
        deployable += live_deployable_rows(live, dataset)
        comparison.forget_set()
        live.forget_set()
    judge(equal_cost)
    references += ceilings.over_sets()
    paths = [layout.hull / name for name in HULL_FILES]
    tables = (metrics, curves, equal_cost, captured, references, strata, deployable, kinds)
    for path, rows, columns in zip(paths, tables, HULL_FILES.values(), strict=True):
        write_csv(path, rows, columns)
    write_manifest(
        layout.hull / "manifest.json",
        step="hull_metrics",
        settings=settings,
        inputs={
            name: results.path for name, results in (comparison.samples | live.samples).items()
        },
        outputs={path.name: path for path in paths},
    )
    return paths


def _metrics(
    comparison: Comparison, name: str, dataset: str, seed: int, unit: Unit, reached: Reached
) -> tuple[Row, Curves | None]:
    """An experiment's row of hull_metrics.csv, and its curve.

    Fixed policies and single points have no curve, so that only AIQ and MCC are defined
    for them.
    """
    ground, points = comparison.ground(name, dataset, seed, unit), reached.points[unit]
    row = comparison.keys(name, dataset, seed) | {"unit": unit}
    row |= _point_metrics(ground.measured, points.measured, reached.actions_at)
    row |= _vocabulary(ground, points)
    if not comparison.has_curve(name):
        return row, None
    curve = ground.curve(points)
    row |= _gains(ground, curve) | _curve_metrics(ground.measured, points.measured)
    return row, curve


def _curve(
    comparison: Comparison,
    ceilings: Ceilings,
    name: str,
    dataset: str,
    seed: int,
    unit: Unit,
    reached: Reached,
) -> list[Row]:
    """An experiment's rows of curves.csv. VoVNet's bring the hull and the reference by text."""
    keys = comparison.keys(name, dataset, seed) | {"unit": unit}
    rows: list[Row] = []
    if name == comparison.main:
        facts = {"experiment": MIXING_HULL, "role": "reference", "title": "Mixing hull"}
        ground = comparison.ground(name, dataset, seed, unit)
        costs_BK = ground.fixed.costs[:, ground.fixed.costs[0].argsort(kind="stable")]
        knots = Points(costs_BK, ground.hull.value(costs_BK))
        rows += _curve_rows(keys | facts, knots, percentile_interval(knots.accuracies))
        by_text = ceilings.tops(name, dataset, seed, unit).get(BY_TEXT)
        if by_text is not None and by_text.points is not None:
            facts = {"experiment": BY_TEXT, "role": "reference", "title": TEXT_REFERENCE}
            interval = percentile_interval(by_text.points.accuracies)
            rows += _curve_rows(keys | facts, by_text.points, interval)
    values = comparison.values(name, dataset, seed)
    return rows + _curve_rows(keys, reached.points[unit], reached.interval, values)


def _point_metrics(ground: Ground, points: Points, actions_at: Callable[[int], Ints]) -> Row:
    """AIQ, and MCC at the point whose cost is nearest to `MCC_SHARE` of FULL's."""
    ends = ground.with_no(points)
    target = ground.no_cost[0] + MCC_SHARE * (ground.full_cost[0] - ground.no_cost[0])
    point = int(np.abs(points.costs[0] - target).argmin())
    return {
        "aiq": float(aiq(ends.costs, ends.accuracies, ground.full_cost, ground.no_cost)[0]),
        "mcc": mcc(actions_at(point) != 0, ground.needed_N),
        "mcc_point": point,
    }


def _vocabulary(ground: Ground, points: Points) -> Row:
    """Measures of the routing literature, on the data itself."""
    fixed = (ground.fixed.costs[0], ground.fixed.accuracies[0])
    own = (points.costs[0], points.accuracies[0])
    return {
        "cost_save": vocabulary.cost_save(*own, *fixed),
        "perf_gain": vocabulary.perf_gain(own[1], fixed[1]),
        "gain_at_random": vocabulary.gain_at_random(own[1], fixed[1]),
        "gap_at_oracle": vocabulary.gap_at_oracle(own[1], float(ground.best.accuracies[0].max())),
        "rank_score": vocabulary.rank_score(*own, fixed[0]),
    }


def _gains(ground: Ground, curve: Curves) -> Row:
    """Percentage points over the hull at shares of FULL's cost, with paired intervals."""
    gains_BQ = hull_gains(ground, curve)
    low_Q, high_Q = percentile_interval(gains_BQ)
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
    recovered_B = apgr(curve, no_B, ground.full_accuracy, full_cost, ground.no_cost)
    return row | {"apgr": float(recovered_B[0])}


def _curve_rows(
    keys: Row, points: Points, interval: tuple[Floats, Floats], values_P: Floats | None = None
) -> list[Row]:
    """Rows of curves.csv; on a frontier `scalar` is the value of the policy's."""
    measured = {
        "scalar": np.full(points.count, np.nan) if values_P is None else values_P,
        "avg_cost": points.costs[0],
        "accuracy": points.accuracies[0],
        "accuracy_lo": interval[0],
        "accuracy_hi": interval[1],
    }
    rows = zip(*(values.tolist() for values in measured.values()), strict=True)
    return [
        keys | {"point": point} | dict(zip(measured, row, strict=True))
        for point, row in enumerate(rows)
    ]

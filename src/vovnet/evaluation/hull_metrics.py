"""Every replayed policy against the mixing hull: hull_metrics.csv, curves.csv, equal_cost.csv.

The mixing hull is what random mixing of the fixed policies reaches. It is taken from the
observations of the same trained model and questions as the policy, and both are resampled
together. Accuracies are shares in [0, 1], gains are percentage points.

equal_cost.csv compares every policy at equal cost with the hull and with resolution scaling, by the
mean of the gain over seeds. Its interval says what other questions and other trainings would
change; verdicts are corrected for the number of comparisons with the same reference.

Shapes: N rows, U questions, A actions, P points of a policy, S seeds, Q places, B resamples, of
which the first is the data itself.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vovnet.config import Settings
from vovnet.core.arrays import Floats, Ints
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.core.resampling import LEVEL, holm, mean_over_seeds, percentile_interval
from vovnet.core.stats import Curves, aiq, apgr, captured_share, mcc
from vovnet.evaluation.columns import GAIN_SHARES, HULL_FILES, MIXING_HULL, Row, write_csv
from vovnet.evaluation.references import Comparison, Ground, Points, hull_gains
from vovnet.pipeline.manifest import write_manifest

MCC_SHARE = 0.5
"""Policies decide more or less often to look; they are compared near this share of FULL's cost."""

RESOLUTION = "resolution_scaling_proxy"
OWN = "own"
"""The place of a single point: its own cost. Other places are percentages of FULL's."""

PLACES = tuple(name.removeprefix("gain_at_") for name in GAIN_SHARES)
BEATS, LOSES, UNDECIDED = "beats", "loses", "undecided"

EPSILON = 1e-9
"""Percentage points, or tokens, that rounding may make of nothing."""


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
    judge(equal_cost)
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
    actions_NP, points = comparison.decided(name, dataset, seed)
    keys = comparison.keys(name, dataset, seed)
    metrics = keys | _point_metrics(ground.measured, points.measured, actions_NP)
    if comparison.has_curve(name):
        metrics |= _gains(ground, points) | _curve_metrics(ground.measured, points.measured)
    curves = _curve_rows(keys, points)
    if name == comparison.main:
        facts = {"experiment": MIXING_HULL, "role": "reference", "title": "Mixing hull"}
        order = ground.fixed.costs[0].argsort(kind="stable")
        costs_BK = ground.fixed.costs[:, order]
        knots = Points(costs_BK, ground.hull.value(costs_BK))
        curves = [*_curve_rows(keys | facts, knots), *curves]
    return metrics, curves, points


def _point_metrics(ground: Ground, points: Points, actions_NP: Ints) -> Row:
    """AIQ, and MCC at the point whose cost is nearest to `MCC_SHARE` of FULL's."""
    ends = ground.with_no(points)
    target = MCC_SHARE * ground.full_cost[0]
    point = int(np.abs(points.costs[0] - target).argmin())
    return {
        "aiq": float(aiq(ends.costs, ends.accuracies, ground.full_cost)[0]),
        "mcc": mcc(actions_NP[:, point] != 0, ground.needed_N),
        "mcc_point": point,
    }


def _gains(ground: Ground, points: Points) -> Row:
    """Percentage points over the hull at shares of FULL's cost, with paired intervals."""
    gains_BQ = hull_gains(ground, points)
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
    return row | {"apgr": float(apgr(curve, no_B, ground.full_accuracy, full_cost)[0])}


def _curve_rows(keys: Row, points: Points) -> list[Row]:
    names = ("avg_cost", "accuracy", "accuracy_lo", "accuracy_hi")
    low_P, high_P = percentile_interval(points.accuracies)
    return [
        keys | {"point": point} | dict(zip(names, map(float, values), strict=True))
        for point, values in enumerate(
            zip(points.costs[0], points.accuracies[0], low_P, high_P, strict=True)
        )
    ]


# ---- equal cost --------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """What one trained model is compared with: a curve, and the costs of the points behind it."""

    experiment: str
    curve: Curves
    costs: Floats


def equal_cost_rows(
    comparison: Comparison, name: str, dataset: str, reached: dict[int, Points]
) -> list[Row]:
    """Rows of equal_cost.csv of an experiment on a set; `reached` has its points by seed.

    A reference that no seed has leaves no rows, nor does resolution scaling against itself.
    """
    curved = comparison.has_curve(name)
    values = {seed: (points.costs, points.accuracies) for seed, points in reached.items()}
    if curved:
        for seed, points in reached.items():
            ground = comparison.ground(name, dataset, seed)
            values[seed] = (ground.places, ground.curve(points).value(ground.places))
    rows: list[Row] = []
    for kind in ("mixing_hull", "resolution"):
        found = {
            seed: reference
            for seed in reached
            if (reference := _reference(comparison, kind, name, dataset, seed)) is not None
        }
        if not found or any(item.experiment == name for item in found.values()):
            continue
        first = next(iter(found.values()))
        facts = {
            **comparison.keys(name, dataset, next(iter(found))),
            "reference": kind,
            "reference_experiment": first.experiment,
            "reference_run": comparison.experiments[first.experiment or name].run,
        }
        costs_Q = np.mean([values[seed][0][0] for seed in found], axis=0)
        gains_SBQ = 100 * np.stack(
            [values[seed][1] - item.curve.value(values[seed][0]) for seed, item in found.items()]
        )
        cheapest = np.mean([item.costs.min() for item in found.values()])
        dearest = np.mean([item.costs.max() for item in found.values()])
        within_Q = (costs_Q >= cheapest - EPSILON) & (costs_Q <= dearest + EPSILON)
        for place, at in enumerate(PLACES if curved else (OWN,)):
            where = {"at": at, "avg_cost": costs_Q[place], "within_range": bool(within_Q[place])}
            rows.append(facts | where | _gain(gains_SBQ[:, :, place]))
    return rows


def verdict(gain: float, p_value: float) -> str:
    """What a gain and its p-value, corrected for the number of comparisons, say of a method."""
    if not p_value < 1 - LEVEL:
        return UNDECIDED
    return BEATS if gain > 0 else LOSES


def judge(rows: list[Row]) -> None:
    """Correct the p-values of all comparisons with one reference (Holm), and add the verdicts.

    What gains 0 by definition, such as not looking, is no comparison, and undecided.
    """
    for reference in {row["reference"]: None for row in rows}:
        family = [row for row in rows if row["reference"] == reference]
        tests = [
            np.nan if row["gain_lo"] == 0 == row["gain_hi"] else row["p_value"] for row in family
        ]
        for row, p_value in zip(family, holm(tests), strict=True):
            row["p_holm"] = float(p_value)
            row["verdict"] = verdict(row["gain"], row["p_holm"])


def _gain(gains_SB: Floats) -> Row:
    """The mean over S seeds with its interval; a single seed has no deviation."""
    rounded_SB = np.where(np.abs(gains_SB) > EPSILON, gains_SB, 0.0)
    found = mean_over_seeds(rounded_SB[:, :, None])
    return {
        "num_seeds": len(gains_SB),
        "gain": found.value.item(),
        "gain_sd": found.deviation.item(),
        "gain_lo": found.low.item(),
        "gain_hi": found.high.item(),
        "p_value": found.p_value.item(),
    }


def _reference(
    comparison: Comparison, kind: str, name: str, dataset: str, seed: int
) -> Reference | None:
    if kind == "mixing_hull":
        ground = comparison.ground(name, dataset, seed)
        return Reference("", ground.hull, ground.fixed.costs[0])
    experiments = comparison.experiments
    scaled = comparison.beside(name, dataset, seed, RESOLUTION)
    if scaled is None:
        main = experiments[comparison.main].run
        scaled = comparison.beside(name, dataset, seed, RESOLUTION, main)
    # What a vision token costs must be the same.
    if scaled is None or len({experiments[key].points[0].cost_scale for key in (scaled, name)}) > 1:
        return None
    ground = comparison.ground(scaled, dataset, seed)
    _, points = comparison.decided(scaled, dataset, seed)
    return Reference(scaled, ground.mixed_with_ends(points), points.costs[0])

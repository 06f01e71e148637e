"""Every replayed policy against the mixing hull: hull_metrics.csv, curves.csv, equal_cost.csv.

captured.csv, references.csv (`vovnet.evaluation.ceilings`) and strata.csv are written beside them.

The mixing hull is what random mixing of the fixed policies reaches. It is taken from the
observations of the same trained model and questions as the policy, and both are resampled
together. Accuracies are shares in [0, 1], gains are percentage points.

A policy that has a frontier is measured on all its operating points, whatever its experiment
sweeps, and so are the references; the points of the sweep are rows of equal_cost.csv.

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
from vovnet.evaluation.ceilings import Ceilings
from vovnet.evaluation.columns import GAIN_SHARES, HULL_FILES, MIXING_HULL, Row, write_csv
from vovnet.evaluation.expected import head_policies
from vovnet.evaluation.references import Comparison, Ground, Points, hull_gains
from vovnet.evaluation.strata import strata_rows
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
    """Write the files of `HULL_FILES` and, last, their manifest.json."""
    names = [name for name, item in settings.experiments.items() if item.mode == "replay"]
    if not names:
        raise ConfigError("experiments: hull metrics need at least one with mode: replay")
    comparison = Comparison(settings, layout, names, head_policies(settings.policy))
    ceilings = Ceilings(comparison)
    captured: list[Row] = []
    references: list[Row] = []
    strata: list[Row] = []
    metrics: list[Row] = []
    curves: list[Row] = []
    equal_cost: list[Row] = []
    for dataset in settings.data.eval_sets:
        for name in names:
            experiment = comparison.experiments[name]
            if dataset not in experiment.sets:
                continue
            own: dict[int, Curves] = {}
            for seed in experiment.seeds:
                row, points, curve = _rows(comparison, name, dataset, seed)
                metrics.append(row)
                curves += points
                own |= {} if curve is None else {seed: curve}
            equal_cost += equal_cost_rows(comparison, name, dataset, own)
            captured += ceilings.captured(name, dataset, own)
            strata += strata_rows(comparison, name, dataset, ceilings.strata(name, dataset))
        references += ceilings.reached(dataset)
        comparison.forget_set()
    judge(equal_cost)
    references += ceilings.over_sets()
    paths = [layout.hull / name for name in HULL_FILES]
    tables = (metrics, curves, equal_cost, captured, references, strata)
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
    comparison: Comparison, name: str, dataset: str, seed: int
) -> tuple[Row, list[Row], Curves | None]:
    """An experiment's row of hull_metrics.csv, those of curves.csv, and its curve.

    Fixed policies and single points have no curve, so that only AIQ and MCC are defined
    for them. VoVNet's curve brings its hull along.
    """
    ground = comparison.ground(name, dataset, seed)
    actions_NP, points = comparison.reached(name, dataset, seed)
    keys = comparison.keys(name, dataset, seed)
    metrics = keys | _point_metrics(ground.measured, points.measured, actions_NP)
    curve = ground.curve(points) if comparison.has_curve(name) else None
    if curve is not None:
        metrics |= _gains(ground, curve) | _curve_metrics(ground.measured, points.measured)
    curves = _curve_rows(keys, points, comparison.values(name, dataset, seed))
    if name == comparison.main:
        facts = {"experiment": MIXING_HULL, "role": "reference", "title": "Mixing hull"}
        order = ground.fixed.costs[0].argsort(kind="stable")
        costs_BK = ground.fixed.costs[:, order]
        knots = Points(costs_BK, ground.hull.value(costs_BK))
        curves = [*_curve_rows(keys | facts, knots), *curves]
    return metrics, curves, curve


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
    return row | {"apgr": float(apgr(curve, no_B, ground.full_accuracy, full_cost)[0])}


def _curve_rows(keys: Row, points: Points, values_P: Floats | None = None) -> list[Row]:
    """Rows of curves.csv; on a frontier `scalar` is the value of the policy's."""
    low_P, high_P = percentile_interval(points.accuracies)
    measured = {
        "scalar": np.full(points.count, np.nan) if values_P is None else values_P,
        "avg_cost": points.costs[0],
        "accuracy": points.accuracies[0],
        "accuracy_lo": low_P,
        "accuracy_hi": high_P,
    }
    rows = zip(*(values.tolist() for values in measured.values()), strict=True)
    return [
        keys | {"point": point} | dict(zip(measured, row, strict=True))
        for point, row in enumerate(rows)
    ]


# ---- equal cost --------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """What one trained model is compared with: a curve, and the costs of the points behind it."""

    experiment: str
    curve: Curves
    costs: Floats


def equal_cost_rows(
    comparison: Comparison, name: str, dataset: str, curves: dict[int, Curves]
) -> list[Row]:
    """Rows of equal_cost.csv of an experiment on a set; `curves` are those of its seeds, if any.

    Each point of the specification is compared at its own cost, a curve also at shares of FULL's.
    A reference that no seed has leaves no rows, nor does resolution scaling against itself.
    """
    seeds = comparison.experiments[name].seeds
    values = {seed: comparison.decided(name, dataset, seed)[1] for seed in seeds}
    places: list[tuple[str, float]] = [(OWN, point) for point in range(values[seeds[0]].count)]
    if curves:
        places = [(at, np.nan) for at in PLACES] + places
        for seed, curve in curves.items():
            at_BQ = comparison.ground(name, dataset, seed).places
            values[seed] = Points(at_BQ, curve.value(at_BQ)).beside(values[seed])
    rows: list[Row] = []
    for kind in ("mixing_hull", "resolution"):
        found = {
            seed: reference
            for seed in seeds
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
        costs_Q = np.mean([values[seed].costs[0] for seed in found], axis=0)
        gains_SBQ = 100 * np.stack(
            [
                values[seed].accuracies - item.curve.value(values[seed].costs)
                for seed, item in found.items()
            ]
        )
        cheapest = np.mean([item.costs.min() for item in found.values()])
        dearest = np.mean([item.costs.max() for item in found.values()])
        within_Q = (costs_Q >= cheapest - EPSILON) & (costs_Q <= dearest + EPSILON)
        for place, (at, point) in enumerate(places):
            where = {"at": at, "point": point, "avg_cost": costs_Q[place]}
            where |= {"within_range": bool(within_Q[place])}
            rows.append(facts | where | _gain(gains_SBQ[:, :, place]))
            if curves and at == OWN:  # it is told, and the curve is what is judged
                rows[-1] |= {"p_holm": np.nan, "verdict": ""}
    return rows


def verdict(gain: float, p_value: float) -> str:
    """What a gain and its p-value, corrected for the number of comparisons, say of a method."""
    if not p_value < 1 - LEVEL:
        return UNDECIDED
    return BEATS if gain > 0 else LOSES


def judge(rows: list[Row]) -> None:
    """Correct p-values for the number of methods that are compared, and add the verdicts (Holm).

    They are compared with one reference on one set at one place. What gains 0 by definition, such
    as not looking, is no comparison, and undecided.
    """
    families: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if "verdict" not in row:
            families.setdefault((row["reference"], row["dataset"], row["at"]), []).append(row)
    for family in families.values():
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

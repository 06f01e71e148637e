"""Every policy at equal cost: equal_cost.csv.

A policy is compared with the mixing hull, with resolution scaling and with VoVNet itself, by the
mean of the gain over seeds. Its interval says what other questions and other trainings would
change; verdicts are corrected for the number of methods that are compared with one reference.

Shapes: S seeds, Q places, B resamples, of which the first is the data itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from vovnet.core.arrays import EPSILON, Bools, Floats
from vovnet.core.resampling import LEVEL, holm, mean_over_seeds
from vovnet.core.stats import Curves
from vovnet.evaluation.columns import (
    BEATS,
    GAIN_SHARES,
    LOSES,
    RESOLUTION,
    UNDECIDED,
    VOVNET,
    Row,
    Unit,
)
from vovnet.evaluation.ground import Points
from vovnet.evaluation.references import Comparison

OWN = "own"
"""The place of a single point: its own cost. Other places are percentages of FULL's."""

PLACES = tuple(name.removeprefix("gain_at_") for name in GAIN_SHARES)
NOT_JUDGED: Row = {"p_holm": np.nan, "verdict": ""}


@dataclass(frozen=True)
class Reference:
    """What one trained model is compared with: a curve, and the costs of the points behind it."""

    experiment: str
    curve: Curves
    costs: Floats


def equal_cost_rows(
    comparison: Comparison,
    name: str,
    dataset: str,
    decided: Mapping[int, Points],
    curves: Mapping[int, Curves],
    unit: Unit,
) -> list[Row]:
    """Rows of equal_cost.csv of an experiment on a set.

    `decided` are the points of its specification by seed, and `curves` those of its seeds, if any.

    Each point of the specification is compared at its own cost, a curve also at shares of FULL's.
    A reference that no seed has leaves no rows, nor do resolution scaling and VoVNet against
    themselves. Where method and reference share one seed though one of them has more, no verdict is
    passed: there are other trainings, of which that interval, over questions only, says nothing.
    """
    seeds, values = comparison.experiments[name].seeds, dict(decided)
    places: list[tuple[str, float]] = [(OWN, point) for point in range(values[seeds[0]].count)]
    if curves:
        places = [(at, np.nan) for at in PLACES] + places
        for seed, curve in curves.items():
            at_BQ = comparison.ground(name, dataset, seed, unit).places
            values[seed] = Points(at_BQ, curve.value(at_BQ)).beside(values[seed])
    rows: list[Row] = []
    for kind in ("mixing_hull", "resolution", VOVNET):
        found = {
            seed: reference
            for seed in seeds
            if (reference := _reference(comparison, kind, name, dataset, seed, unit)) is not None
        }
        if not found or any(item.experiment == name for item in found.values()):
            continue
        first = next(iter(found.values()))
        trained = {*seeds, *comparison.experiments[first.experiment or name].seeds}
        untold = len(found) == 1 < len(trained)
        facts = {
            **comparison.keys(name, dataset, next(iter(found))),
            "unit": unit,
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
        within_Q = within_range(costs_Q, found.values())
        told = gains_of(gains_SBQ)
        for place, (at, point) in enumerate(places):
            where = {"at": at, "point": point, "avg_cost": costs_Q[place]}
            where |= {"within_range": bool(within_Q[place])}
            rows.append(facts | where | told[place])
            if untold or (curves and at == OWN):  # there, the curve is what is judged
                rows[-1] |= NOT_JUDGED
    return rows


def within_range(costs_Q: Floats, references: Iterable[Reference]) -> Bools:
    """Whether costs lie between those of the references' cheapest and dearest points, (Q,)."""
    ends = [(item.costs.min(), item.costs.max()) for item in references]
    cheapest, dearest = np.mean(ends, axis=0).tolist()
    near = EPSILON * max(1.0, dearest)
    return (costs_Q >= cheapest - near) & (costs_Q <= dearest + near)


def verdict(gain: float, p_value: float) -> str:
    """What a gain and its p-value, corrected for the number of comparisons, say of a method."""
    if not p_value < 1 - LEVEL:
        return UNDECIDED
    return BEATS if gain > 0 else LOSES


def judge(rows: list[Row]) -> None:
    """Correct p-values for the number of methods that are compared, and add the verdicts (Holm).

    They are compared with one reference on one set at one place, in one unit of cost: such a family
    holds a false verdict at most 5% of the time, a table of several families more often. What gains
    0 by definition, such as not looking, is no comparison, and undecided.
    """
    families: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if "verdict" not in row:
            key = tuple(row[name] for name in ("unit", "reference", "dataset", "at"))
            families.setdefault(key, []).append(row)
    for family in families.values():
        tests = [
            np.nan if row["gain_lo"] == 0 == row["gain_hi"] else row["p_value"] for row in family
        ]
        for row, p_value in zip(family, holm(tests), strict=True):
            row["p_holm"] = float(p_value)
            row["verdict"] = verdict(row["gain"], row["p_holm"])


def gains_of(gains_SBQ: Floats) -> list[Row]:
    """At each place the mean over seeds with its interval; a single seed has no deviation."""
    found = mean_over_seeds(np.where(np.abs(gains_SBQ) <= EPSILON, 0.0, gains_SBQ))
    names = ("gain", "gain_sd", "gain_lo", "gain_hi", "p_value")
    values = (found.value, found.deviation, found.low, found.high, found.p_value)
    told = zip(*(value.tolist() for value in values), strict=True)
    return [{"num_seeds": len(gains_SBQ)} | dict(zip(names, row, strict=True)) for row in told]


def _reference(
    comparison: Comparison, kind: str, name: str, dataset: str, seed: int, unit: Unit
) -> Reference | None:
    if kind == "mixing_hull":
        ground = comparison.ground(name, dataset, seed, unit)
        return Reference("", ground.hull, ground.fixed.costs[0])
    if kind == VOVNET:
        return _vovnet(comparison, name, dataset, seed, unit)
    experiments = comparison.experiments
    scaled = comparison.beside(name, dataset, seed, RESOLUTION)
    if scaled is None:
        main = experiments[comparison.main].run
        scaled = comparison.beside(name, dataset, seed, RESOLUTION, main)
    # What a vision token costs must be the same.
    if scaled is None or len({experiments[key].points[0].cost_scale for key in (scaled, name)}) > 1:
        return None
    ground = comparison.ground(scaled, dataset, seed, unit)
    points = comparison.decided(scaled, dataset, seed, [unit]).points[unit]
    return Reference(scaled, ground.mixed_with_ends(points), points.costs[0])


def _vovnet(
    comparison: Comparison, name: str, dataset: str, seed: int, unit: Unit
) -> Reference | None:
    """The curve of VoVNet on the same questions, of the same seed; None where it has none."""
    main, own = comparison.experiments[comparison.main], comparison.experiments[name]
    if (
        main.stanza.role != "vovnet"
        or not comparison.has_curve(main.name)
        or main.stanza.max_samples != own.stanza.max_samples
        or main.points[0].cost_scale != own.points[0].cost_scale
        or dataset not in main.sets
        or seed not in main.seeds
        or unit not in comparison.units(main.name, dataset, seed)
    ):
        return None
    return Reference(main.name, *comparison.main_curve(dataset, seed, unit))

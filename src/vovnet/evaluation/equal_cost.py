"""Every replayed policy at equal cost against random mixing and against resolution scaling.

A sweep is compared at shares of FULL's cost, by its curve; a single point at its own cost. The
gain is the mean over seeds. Questions are resampled, the same ones in every seed, for the policy
and for what it is compared with; the interval says what other questions would change, and the
deviation over seeds, beside it, what other trainings would.

The curve of resolution scaling is the non-decreasing upper convex hull of not looking at all, the
sizes of the sweep and always FULL: what random mixing of any two of them reaches, as the mixing
hull is for the fixed policies. It is that of the same trained model and seed. A run without such a
sweep is compared with that of VoVNet's run, seed by seed, and `reference_run` names it.

Shapes: B resamples, of which the first is the data itself; Q places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vovnet.core.arrays import Floats
from vovnet.core.stats import Curves, percentile_interval
from vovnet.evaluation.columns import GAIN_SHARES, Row
from vovnet.evaluation.references import Comparison, Ground, Points

RESOLUTION = "resolution_scaling_proxy"
OWN = "own"
"""The place of a single point: its own cost. Other places are percentages of FULL's."""

PLACES = tuple(name.removeprefix("gain_at_") for name in GAIN_SHARES)
BEATS, LOSES, UNDECIDED = "beats", "loses", "undecided"

EPSILON = 1e-9
"""Percentage points, or tokens, that rounding may make of nothing."""


@dataclass(frozen=True)
class Reference:
    """What one trained model is compared with: its curve, and the costs between which it lies."""

    experiment: str
    curve: Curves
    cheapest: float
    dearest: float


def equal_cost_rows(
    comparison: Comparison, name: str, dataset: str, reached: dict[int, Points]
) -> list[Row]:
    """Rows of equal_cost.csv of an experiment on a set; `reached` has its points by seed.

    A reference that no seed has leaves no rows, nor does resolution scaling against itself.
    """
    grounds = {seed: comparison.ground(name, dataset, seed) for seed in reached}
    curved = comparison.has_curve(name)
    values = {seed: _places(grounds[seed], reached[seed], curved=curved) for seed in reached}
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
        gains = [
            100 * (values[seed][1] - item.curve.value(values[seed][0]))
            for seed, item in found.items()
        ]
        cheapest = np.mean([item.cheapest for item in found.values()])
        dearest = np.mean([item.dearest for item in found.values()])
        within_Q = (costs_Q >= cheapest - EPSILON) & (costs_Q <= dearest + EPSILON)
        for place, at in enumerate(PLACES if curved else (OWN,)):
            where = {"at": at, "avg_cost": costs_Q[place], "within_range": bool(within_Q[place])}
            rows.append(facts | where | _gain(np.stack(gains)[:, :, place]))
    return rows


def verdict(low: float, high: float) -> str:
    """What an interval of a gain says; one that contains 0 decides nothing."""
    if low > EPSILON:
        return BEATS
    return LOSES if high < -EPSILON else UNDECIDED


def _gain(gains_SB: Floats) -> Row:
    """The mean over S seeds with its interval; a single seed has no deviation."""
    means_B = gains_SB.mean(axis=0)
    low, high = (float(end) for end in percentile_interval(means_B[1:]))
    alone = len(gains_SB) == 1
    return {
        "num_seeds": len(gains_SB),
        "gain": float(means_B[0]),
        "gain_sd": float("nan") if alone else float(gains_SB[:, 0].std(ddof=1)),
        "gain_lo": low,
        "gain_hi": high,
        "verdict": verdict(low, high),
    }


def _places(ground: Ground, points: Points, *, curved: bool) -> tuple[Floats, Floats]:
    """Costs at which a policy is compared and what it reaches there, (B, Q) each."""
    if not curved:
        return points.costs, points.accuracies
    at_BQ = ground.full_cost[:, None] * np.array(list(GAIN_SHARES.values()))
    return at_BQ, ground.curve(points).value(at_BQ)


def _reference(
    comparison: Comparison, kind: str, name: str, dataset: str, seed: int
) -> Reference | None:
    if kind == "mixing_hull":
        ground = comparison.ground(name, dataset, seed)
        costs = ground.fixed.costs[0]
        return Reference("", ground.hull, float(costs.min()), float(costs.max()))
    scaled = comparison.beside(name, dataset, seed, RESOLUTION)
    if scaled is None:
        main = comparison.experiments[comparison.main].run
        scaled = comparison.beside(name, dataset, seed, RESOLUTION, main)
    if scaled is None or _unit(comparison, scaled) != _unit(comparison, name):
        return None
    ground = comparison.ground(scaled, dataset, seed)
    points = comparison.decided(scaled, dataset, seed, ground).points(ground)
    costs = points.costs[0]
    return Reference(scaled, ground.mixed_with_ends(points), float(costs.min()), float(costs.max()))


def _unit(comparison: Comparison, name: str) -> float:
    """What a vision token costs."""
    return comparison.experiments[name].points[0].cost_scale

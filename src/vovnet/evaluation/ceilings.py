"""How far policies get on the way from random mixing to what could be reached: captured.csv.

Of every curve, captured.csv has the share of the area between the mixing hull and a reference, and
references.csv what the references themselves reach, of the run that stands for VoVNet:

- `oracle`: a perfect choice, by the outcomes themselves;
- `expected`: a choice by what other seeds made of the same question, and by the text: an oracle
  without luck, and told low, since two other outcomes are few; not of a single seed;
- `by_text`: a choice by the text alone, fitted on the other questions of the set itself;
- `bayes`: the Bayes router, fitted on training questions;
- `dataset`: one action for each set, over all sets together.

Shapes: B resamples, of which the first is the data itself, S seeds, Q places, K actions, P points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vovnet.core import stats
from vovnet.core.arrays import Bools, Floats, Ints
from vovnet.core.resampling import LEVEL, Estimate, mean_over_seeds
from vovnet.core.stats import Curves, share_of_area
from vovnet.evaluation.columns import (
    ALL_SETS,
    BY_TEXT,
    GAIN_SHARES,
    TEXT_REFERENCE,
    TOKENS,
    Row,
    Unit,
)
from vovnet.evaluation.compared import is_target
from vovnet.evaluation.equal_cost import OWN, PLACES
from vovnet.evaluation.expected import (
    cross_fitted,
    head_policies,
    told_by_other_seeds,
    told_policies,
)
from vovnet.evaluation.frontier import chosen_at_every_lambda
from vovnet.evaluation.ground import Ground, Points, averages
from vovnet.evaluation.references import Comparison
from vovnet.evaluation.strata import strata_of

TITLES = {
    "oracle": "Perfect choice, by outcomes",
    "expected": "Choice by outcomes elsewhere",
    BY_TEXT: TEXT_REFERENCE,
    "bayes": "Router fitted on outcomes",
    "dataset": "One action per dataset",
}
"""The references in the order of tables -> what tables call them."""


@dataclass(frozen=True)
class Top:
    """What a reference reaches: the area under its curve up to FULL's cost, (B,).

    At each of `PLACES`, and at `OWN`, where tables compare methods, also the cost, the accuracy
    there, and the points that it gains over the mixing hull, (B, Q). `points` are those of a
    frontier.
    """

    area: Floats
    costs: Floats
    accuracies: Floats
    gains: Floats
    points: Points | None


class Ceilings:
    """The references of the run that stands for VoVNet, with what is kept of each set."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.main = comparison, comparison.experiments[comparison.main]
        self.fixed: dict[tuple[Unit, int], dict[str, Ground]] = {}
        self.expectations: dict[tuple[str, int], dict[str, Floats]] = {}
        self.found: dict[tuple[str, int, Unit], dict[str, Top]] = {}

    def tops(self, name: str, dataset: str, seed: int, unit: Unit = TOKENS) -> dict[str, Top]:
        """The references beside an experiment; none where the main one is not."""
        if self.comparison.experiments[name].run != self.main.run:
            return {}
        if not self._has(name, dataset, seed):
            return {}
        if (dataset, seed, unit) not in self.found:
            self.found[dataset, seed, unit] = self._tops(dataset, seed, unit)
        return self.found[dataset, seed, unit]

    def strata(self, name: str, dataset: str) -> dict[int, Ints]:
        """What each question needs, (U,), by seed of an experiment; where that can be told."""
        main, found = self.main, {}
        for seed in self.comparison.experiments[name].seeds:
            expected = self.expected(dataset, seed) if self._has(name, dataset, seed) else {}
            if expected:
                tokens_NA = self.comparison.observed(main.name, dataset, seed).vision_tokens.astype(
                    float
                )
                units_N = self.comparison.asked(main.name, dataset)[0].units
                best_NA = next(iter(expected.values()))
                found[seed] = strata_of(best_NA, tokens_NA, units_N)
        return found

    def expected(self, dataset: str, seed: int) -> dict[str, Floats]:
        """What is expected of each action on each question, by reference; the best told first."""
        if (dataset, seed) not in self.expectations:
            self.expectations[dataset, seed] = self._expected(dataset, seed)
        return self.expectations[dataset, seed]

    def _has(self, name: str, dataset: str, seed: int) -> bool:
        """Whether the main experiment was asked the same questions with this seed."""
        own, main = self.comparison.experiments[name].stanza, self.main
        same = own.max_samples == main.stanza.max_samples
        return same and dataset in main.sets and seed in main.seeds

    def _tops(self, dataset: str, seed: int, unit: Unit) -> dict[str, Top]:
        """No reference pays for what it knows: only the views cost something."""
        comparison, name = self.comparison, self.main.name
        ground = comparison.ground(name, dataset, seed, unit)
        observed = comparison.observed(name, dataset, seed)
        asked, done = comparison.asked(name, dataset), (observed.vision_tokens, observed.flops)
        costs_NA = comparison.costs(name, *done, unit)
        without_best = replace(ground, best=ground.measured.best, bayes=None)  # to spare memory
        self.fixed.setdefault((unit, seed), {})[dataset] = without_best
        curves: dict[str, Curves] = {"oracle": ground.best}
        points: dict[str, Points] = {}
        for reference, expected_NA in self.expected(dataset, seed).items():
            actions_NP = chosen_at_every_lambda(expected_NA, costs_NA)
            found = averages(*asked, observed.scores, {unit: costs_NA}, actions_NP)
            points[reference] = found[unit]
            curves[reference] = ground.curve(points[reference])
        if ground.bayes is not None:
            curves["bayes"] = ground.curve(ground.bayes)
        at_BQ = np.column_stack([ground.places, self._own_cost(ground, dataset, seed, unit)])
        floor_BQ, tops = ground.hull.value(at_BQ), {}
        for reference, curve in curves.items():
            value_BQ = curve.value(at_BQ)
            measured = at_BQ, value_BQ, 100 * (value_BQ - floor_BQ), points.get(reference)
            tops[reference] = Top(curve.area(ground.full_cost), *measured)
        return tops

    def _own_cost(self, ground: Ground, dataset: str, seed: int, unit: Unit) -> Floats:
        """Where tables compare: the cost of VoVNet at `report.target_lambda`, (B,).

        Half of FULL's where VoVNet is not evaluated there.
        """
        settings = self.comparison.settings
        for place, policy in enumerate(self.main.points):
            if self.main.stanza.role == "vovnet" and is_target(settings, policy.lambda_cost):
                done = self.comparison.decided(self.main.name, dataset, seed, [unit])
                return done.points[unit].costs[:, place]
        return ground.places[:, list(GAIN_SHARES.values()).index(0.5)]

    def _expected(self, dataset: str, seed: int) -> dict[str, Floats]:
        main = self.main
        questions, resamples = self.comparison.asked(main.name, dataset)
        observed = [self.comparison.observed(main.name, dataset, other) for other in main.seeds]
        own = main.seeds.index(seed)
        policies = told_policies(head_policies(main.settings.policy), questions, observed[own])
        clusters_N = resamples.clusters[questions.units]
        by_text_NA = cross_fitted(policies, questions, observed[own], clusters_N, seed)
        if by_text_NA is None:
            return {}
        scores_SNA = np.stack([other.scores for other in observed])
        expected_NA = told_by_other_seeds(by_text_NA, scores_SNA, own)
        found = {"expected": expected_NA, BY_TEXT: by_text_NA}
        return {reference: value for reference, value in found.items() if value is not None}

    def captured(
        self, name: str, dataset: str, curves: Mapping[int, Curves], unit: Unit
    ) -> list[Row]:
        """Rows of captured.csv of an experiment on a set; `curves` are those of its seeds.

        In a resample where the reference gains nothing over the hull there is no share. Its share
        of the resamples is told as `undefined`, and the interval is that of the others: what is
        captured where there is something to capture. There is none where so many are undefined
        that they could be all beyond one of its ends.
        """
        shares: dict[str, list[Floats]] = {}
        for seed, curve in curves.items():
            ground = self.comparison.ground(name, dataset, seed, unit)
            own_B = curve.area(ground.full_cost)
            for reference, top in self.tops(name, dataset, seed, unit).items():
                share_B = share_of_area(own_B, ground.hull_area, top.area)
                shares.setdefault(reference, []).append(share_B)
        return [
            self.comparison.keys(name, dataset, next(iter(curves)))
            | {"unit": unit, "reference": reference, "num_seeds": len(values)}
            | _captured(np.stack(values))
            for reference, values in shares.items()
        ]

    def reached(self, dataset: str) -> list[Row]:
        """Rows of references.csv of a set, which is then dropped: gains over mixing."""
        found: dict[tuple[Unit, str], list[Top]] = {}
        for (_, _, unit), tops in self.found.items():
            for reference, top in tops.items():
                found.setdefault((unit, reference), []).append(top)
        self.found, self.expectations = {}, {}
        return [row for key, tops in found.items() for row in self._rows(dataset, *key, tops)]

    def over_sets(self) -> list[Row]:
        """The same of one action per dataset, over all sets with equal weight."""
        every = max(map(len, self.fixed.values()), default=0)
        found: dict[Unit, list[Top]] = {}
        for (unit, _), sets in self.fixed.items():
            if len(sets) == every > 1:
                found.setdefault(unit, []).append(_by_dataset(list(sets.values())))
        by_unit = found.items()
        return [row for unit, own in by_unit for row in self._rows(ALL_SETS, unit, "dataset", own)]

    def _rows(self, dataset: str, unit: Unit, reference: str, tops: Sequence[Top]) -> list[Row]:
        """A row per place: the mean over seeds."""
        keys = {"dataset": dataset, "run": self.main.run, "unit": unit}
        keys |= {"reference": reference, "title": TITLES[reference]}
        gains, accuracies = (
            mean_over_seeds(np.stack([getattr(top, name) for top in tops]))
            for name in ("gains", "accuracies")
        )
        costs_Q = np.mean([top.costs[0] for top in tops], axis=0)
        return [
            keys
            | {"at": at, "num_seeds": len(tops), "avg_cost": cost}
            | _told("accuracy", accuracies, place)
            | _told("gain", gains, place)
            for place, (at, cost) in enumerate(zip((*PLACES, OWN), costs_Q.tolist(), strict=False))
        ]


def _by_dataset(grounds: list[Ground]) -> Top:
    """What the best action of each set reaches beyond the same mixture of actions on all of them.

    Both may be mixed at random. The steps along the hulls of all sets, the steepest first, are
    the best choice at any cost; their order is that of the data, and is held in the resamples.
    """
    count = len(grounds)
    same = stats.upper_hull(
        np.mean([ground.fixed.costs for ground in grounds], axis=0),
        np.mean([ground.fixed.accuracies for ground in grounds], axis=0),
    )
    runs, rises = (
        np.hstack([np.diff(values, axis=1) / count for values in parts])
        for parts in (
            [ground.hull.costs for ground in grounds],
            [ground.hull.accuracies for ground in grounds],
        )
    )
    order = np.argsort(-rises[0] / runs[0], kind="stable")
    start = [sum(ground.hull.costs[:, :1] for ground in grounds) / count, runs[:, order]]
    base = [sum(ground.hull.accuracies[:, :1] for ground in grounds) / count, rises[:, order]]
    best = stats.sweep_curve(
        np.cumsum(np.hstack(start), axis=1), np.cumsum(np.hstack(base), axis=1)
    )
    full_cost_B = np.mean([ground.full_cost for ground in grounds], axis=0)
    no_cost_B = np.mean([ground.no_cost for ground in grounds], axis=0)
    way_B1 = (full_cost_B - no_cost_B)[:, None]
    at_BQ = no_cost_B[:, None] + way_B1 * np.array(list(GAIN_SHARES.values()))
    value_BQ, floor_BQ = best.value(at_BQ), same.value(at_BQ)
    area_B = best.area(full_cost_B)
    return Top(area_B, at_BQ, value_BQ, 100 * (value_BQ - floor_BQ), None)


def _captured(shares_SB: Floats) -> Row:
    """The captured share over seeds, and the share of resamples in which a seed has none.

    The interval is over the resamples in which the reference gains something in every seed, and
    empty where more than 2.5% are none of these.
    """
    defined_B: Bools = np.logical_not(np.isnan(shares_SB).any(axis=0))
    undefined = 1 - float(defined_B[1:].mean()) if len(defined_B) > 1 else 0.0
    if 0 < undefined <= (1 - LEVEL) / 2:
        shares_SB = shares_SB[:, defined_B | (np.arange(len(defined_B)) == 0)]
    return {"undefined": undefined} | _told("captured", mean_over_seeds(shares_SB[:, :, None]))


def _told(name: str, found: Estimate, place: int = 0) -> Row:
    values = (found.value, found.deviation, found.low, found.high)
    ends = ("", "_sd", "_lo", "_hi")
    return {name + end: float(value[place]) for end, value in zip(ends, values, strict=True)}

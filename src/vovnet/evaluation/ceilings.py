"""How far policies get on the way from random mixing to what could be reached: captured.csv.

Of every curve, captured.csv has the share of the area between the mixing hull and a reference, and
references.csv what the references themselves reach, of the run that stands for VoVNet:

- `oracle`: a perfect choice, by the outcomes themselves;
- `expected`: a choice by what other seeds made of the same question, and by the text: an oracle
  without luck, and told low, since two other outcomes are few; not of a single seed;
- `ceiling`: a choice by the text alone, fitted on the other questions of the set itself;
- `bayes`: the Bayes router, fitted on training questions;
- `dataset`: one action for each set, over all sets together.

Shapes: B resamples, of which the first is the data itself, S seeds, Q places, K actions, P points.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from vovnet.core import stats
from vovnet.core.arrays import Floats, Ints
from vovnet.core.resampling import Estimate, mean_over_seeds
from vovnet.core.stats import Curves, captured_share
from vovnet.evaluation.columns import ALL_SETS, GAIN_SHARES, Row
from vovnet.evaluation.expected import (
    cross_fitted,
    frontier_by,
    head_policies,
    with_outcomes_elsewhere,
)
from vovnet.evaluation.references import Comparison, Ground
from vovnet.evaluation.strata import strata_of

TITLES = {
    "oracle": "Perfect choice, by outcomes",
    "expected": "Choice by outcomes elsewhere",
    "ceiling": "Ceiling of a text-only policy",
    "bayes": "Router fitted on outcomes",
    "dataset": "One action per dataset",
}
"""The references in the order of tables -> what tables call them."""


class Ceilings:
    """The references of the run that stands for VoVNet, with what is kept of each set."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.main = comparison, comparison.experiments[comparison.main]
        self.fixed: dict[int, dict[str, Ground]] = {}
        self.expectations: dict[tuple[str, int], dict[str, Floats]] = {}
        self.curves: dict[tuple[str, int], dict[str, Curves]] = {}

    def tops(self, name: str, dataset: str, seed: int) -> dict[str, Curves]:
        """The curves of the references beside an experiment; none where the main one is not."""
        if self.comparison.experiments[name].run != self.main.run:
            return {}
        if not self._has(name, dataset, seed):
            return {}
        if (dataset, seed) not in self.curves:
            self.curves[dataset, seed] = self._tops(dataset, seed)
        return self.curves[dataset, seed]

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

    def _tops(self, dataset: str, seed: int) -> dict[str, Curves]:
        comparison, name, policy = self.comparison, self.main.name, self.main.settings.policy
        ground = comparison.ground(name, dataset, seed)
        observed = comparison.observed(name, dataset, seed)
        questions = comparison.asked(name, dataset)[0]
        without_best = replace(ground, best=ground.measured.best, bayes=None)  # to spare memory
        self.fixed.setdefault(seed, {})[dataset] = without_best
        found: dict[str, Curves] = {"oracle": ground.best}
        for reference, expected_NA in self.expected(dataset, seed).items():
            reached = frontier_by(expected_NA, policy, questions, observed)
            found[reference] = ground.curve(comparison.averages(name, dataset, reached))
        if ground.bayes is not None:
            found["bayes"] = ground.curve(ground.bayes)
        return found

    def _expected(self, dataset: str, seed: int) -> dict[str, Floats]:
        main = self.main
        questions, resamples = self.comparison.asked(main.name, dataset)
        observed = [self.comparison.observed(main.name, dataset, other) for other in main.seeds]
        own, policies = main.seeds.index(seed), head_policies(main.settings.policy)
        clusters_N = resamples.clusters[questions.units]
        ceiling_NA = cross_fitted(policies, questions, observed[own], clusters_N, seed)
        if ceiling_NA is None:
            return {}
        scores_SNA = np.stack([other.scores for other in observed])
        expected_NA = with_outcomes_elsewhere(ceiling_NA, scores_SNA, own)
        found = {"expected": expected_NA, "ceiling": ceiling_NA}
        return {reference: value for reference, value in found.items() if value is not None}

    def captured(self, name: str, dataset: str, curves: Mapping[int, Curves]) -> list[Row]:
        """Rows of captured.csv of an experiment on a set; `curves` are those of its seeds."""
        shares: dict[str, list[Floats]] = {}
        for seed, curve in curves.items():
            ground = self.comparison.ground(name, dataset, seed)
            for reference, top in self.tops(name, dataset, seed).items():
                share_B = captured_share(curve, ground.hull, top, ground.full_cost)
                shares.setdefault(reference, []).append(share_B)
        return [
            self.comparison.keys(name, dataset, next(iter(curves)))
            | {"reference": reference, "num_seeds": len(values)}
            | _told("captured", mean_over_seeds(np.stack(values)[:, :, None]))
            for reference, values in shares.items()
        ]

    def reached(self, dataset: str) -> list[Row]:
        """Rows of references.csv of a set, whose curves are then dropped: gains over mixing."""
        grounds = {seed: sets[dataset] for seed, sets in self.fixed.items() if dataset in sets}
        gains: dict[str, list[Floats]] = {}
        for seed, ground in grounds.items():
            for reference, top in self.curves[dataset, seed].items():
                gain_BQ = 100 * (top.value(ground.places) - ground.hull.value(ground.places))
                gains.setdefault(reference, []).append(gain_BQ)
        self.curves, self.expectations = {}, {}
        return [
            row for reference, values in gains.items() for row in _rows(dataset, reference, values)
        ]

    def over_sets(self) -> list[Row]:
        """The same of one action per dataset, over all sets with equal weight."""
        every = max(map(len, self.fixed.values()), default=0)
        gains = [
            _dataset_gains(list(sets.values()))
            for sets in self.fixed.values()
            if len(sets) == every > 1
        ]
        return _rows(ALL_SETS, "dataset", gains) if gains else []


def _dataset_gains(grounds: list[Ground]) -> Floats:
    """What the best action of each set reaches beyond the same mixture of actions on all, (B, Q).

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
    at_BQ = full_cost_B[:, None] * np.array(list(GAIN_SHARES.values()))
    gains_BQ: Floats = 100 * (best.value(at_BQ) - same.value(at_BQ))
    return gains_BQ


def _rows(dataset: str, reference: str, gains: list[Floats]) -> list[Row]:
    """A row per place: the mean gain over seeds."""
    keys = {"dataset": dataset, "reference": reference, "title": TITLES[reference]}
    return [
        keys
        | {"at": name.removeprefix("gain_at_"), "num_seeds": len(gains)}
        | _told("gain", mean_over_seeds(np.stack(gains)[:, :, [place]]))
        for place, name in enumerate(GAIN_SHARES)
    ]


def _told(name: str, found: Estimate) -> Row:
    return {
        name: found.value.item(),
        f"{name}_sd": found.deviation.item(),
        f"{name}_lo": found.low.item(),
        f"{name}_hi": found.high.item(),
    }

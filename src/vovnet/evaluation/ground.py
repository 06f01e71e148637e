"""One trained model on the questions of a set: averages of policies, and what bounds them.

Accuracies are shares in [0, 1].

Shapes: N rows, A actions, P points of a policy, B resamples, of which the first is the data itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vovnet.core import stats
from vovnet.core.arrays import Bools, Floats, Ints, unit_minima
from vovnet.core.pieces import Changes, Runs
from vovnet.core.resampling import Resamples, percentile_interval
from vovnet.core.stats import Curves
from vovnet.evaluation.columns import GAIN_SHARES, Unit
from vovnet.evaluation.questions import Questions


@dataclass(frozen=True)
class Points:
    """Average cost and accuracy of P policies on the data and its resamples, (B, P) each."""

    costs: Floats
    accuracies: Floats

    @property
    def measured(self) -> "Points":
        """The data itself, without resamples."""
        return Points(self.costs[:1], self.accuracies[:1])

    @property
    def count(self) -> int:
        """P."""
        return self.costs.shape[1]

    def beside(self, other: "Points") -> "Points":
        """These and then the other ones."""
        return Points(
            np.hstack([self.costs, other.costs]), np.hstack([self.accuracies, other.accuracies])
        )


@dataclass(frozen=True)
class Reached:
    """What an experiment did at its operating points: averages by unit, and the actions, (N,)."""

    actions_at: Callable[[int], Ints]
    points: Mapping[Unit, Points]

    @cached_property
    def interval(self) -> tuple[Floats, Floats]:
        """The ends of the 95% interval of each point's accuracy, (P,)."""
        return percentile_interval(next(iter(self.points.values())).accuracies)


@dataclass(frozen=True)
class Ground:
    """One trained model on the questions of one set: what policies there are compared with.

    `fixed` are the actions, each shown always, of which FULL is the one of index `full`; `best` is
    what a perfect choice among them reaches at any cost; `bayes` is the Bayes
    router's sweep where there is one.
    """

    needed_N: Bools
    fixed: Points
    full: int
    best: Curves
    bayes: Points | None = None

    @cached_property
    def full_cost(self) -> Floats:
        return self.fixed.costs[:, self.full]

    @property
    def no_cost(self) -> Floats:
        """What not looking costs: no vision token, but FLOPs of the language model."""
        return self.fixed.costs[:, 0]

    @property
    def full_accuracy(self) -> Floats:
        return self.fixed.accuracies[:, self.full]

    @property
    def places(self) -> Floats:
        """The costs at which curves are compared, `GAIN_SHARES` of the way to FULL's, (B, Q)."""
        way_B1 = (self.full_cost - self.no_cost)[:, None]
        return self.no_cost[:, None] + way_B1 * np.array(list(GAIN_SHARES.values()))

    @cached_property
    def hull(self) -> Curves:
        return stats.upper_hull(self.fixed.costs, self.fixed.accuracies)

    @cached_property
    def hull_area(self) -> Floats:
        """Up to FULL's cost, (B,)."""
        return self.hull.area(self.full_cost)

    def with_no(self, points: Points) -> Points:
        """The points and, before them, not looking at all."""
        return Points(
            np.column_stack([self.fixed.costs[:, 0], points.costs]),
            np.column_stack([self.fixed.accuracies[:, 0], points.accuracies]),
        )

    def with_ends(self, points: Points, full_B: Floats) -> Points:
        """The points between not looking at all and always FULL, of the given accuracy."""
        ends = self.with_no(points)
        return Points(
            np.column_stack([ends.costs, self.full_cost]),
            np.column_stack([ends.accuracies, full_B]),
        )

    def curve(self, points: Points) -> Curves:
        """What a policy reaches at any cost, by random mixing of neighbouring points.

        Beyond its dearest point it mixes with always FULL, if that is better; a point dearer than
        FULL is not available at FULL's cost. Both are chosen on the data and held in the resamples.
        """
        dearest = int(points.costs[0].argmax())
        last_B = points.accuracies[:, dearest]
        within = points.costs[0, dearest] <= self.full_cost[0]
        at_full_B = last_B if within and last_B[0] > self.full_accuracy[0] else self.full_accuracy
        ends = self.with_ends(points, at_full_B)
        return stats.sweep_curve(ends.costs, ends.accuracies)

    def mixed_with_ends(self, points: Points) -> Curves:
        """What random mixing of any two of the points, not looking and always FULL reaches."""
        ends = self.with_ends(points, self.full_accuracy)
        return stats.upper_hull(ends.costs, ends.accuracies)

    @cached_property
    def measured(self) -> "Ground":
        """The data itself, without resamples."""
        return replace(
            self,
            fixed=self.fixed.measured,
            best=Curves(self.best.costs[:1], self.best.accuracies[:1]),
            bayes=None if self.bayes is None else self.bayes.measured,
        )


def hull_gains(ground: Ground, curve: Curves) -> Floats:
    """Percentage points over the hull at `GAIN_SHARES` of FULL's cost, (B, Q)."""
    at_BQ = ground.places
    return 100 * (curve.value(at_BQ) - ground.hull.value(at_BQ))


def averages(
    questions: Questions,
    resamples: Resamples,
    scores_NP: Floats,
    costs: Mapping[Unit, Floats],
    piece_NP: NDArray[np.integer] | None = None,
) -> dict[Unit, Points]:
    """Means over the data and its resamples by unit: accuracy over questions, cost over rows.

    With `piece_NP` scores and costs are those of each row's few pieces, (N, J), and it tells on
    which of them a row is at each point.
    """
    units_N = questions.units
    right: Floats | Runs
    parts: list[Floats | Runs]
    if piece_NP is None:
        right, parts = unit_minima(scores_NP, units_N), list(costs.values())
    else:
        by_row, by_unit = changes(piece_NP, units_N, resamples.clusters)
        right = by_unit.totals_of_minima(scores_NP)
        parts = [by_row.totals(costs_NJ) for costs_NJ in costs.values()]
    accuracies_BP, *costs_BP = resamples.means_of(
        (right, None), *((part, units_N) for part in parts)
    )
    return {
        unit: Points(own_BP, accuracies_BP) for unit, own_BP in zip(costs, costs_BP, strict=True)
    }


def changes(
    piece_NP: NDArray[np.integer], units_N: Ints, clusters_U: Ints
) -> tuple[Changes, Changes]:
    """Where clusters change, with their rows in the order of the set, and question by question."""
    clusters_N, rows_N = clusters_U[units_N], np.arange(len(units_N))
    by_row = Changes(piece_NP, clusters_N, rows_N)
    if np.array_equal(units_N, rows_N):
        return by_row, by_row
    return by_row, Changes(piece_NP, clusters_N, units_N)

"""What clusters of rows add up to along a frontier, computed where it changes.

A row does one of a few things, its pieces, at each of hundreds of points. Arrays of all rows and
points are large, and nearly all neighbours in them are equal.

Shapes: N rows, J pieces of a row, P points, U units, C clusters, E runs, F rows of runs.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from vovnet.core.arrays import Floats, Ints


@dataclass(frozen=True)
class Runs:
    """The values of C clusters at P points, (E,): a run is a value that holds from a point on.

    Runs are in the order of their clusters and then of the points at which they start; the first
    one of each cluster starts at point 0.
    """

    clusters: Ints
    starts: Ints
    values: Floats
    shape: tuple[int, int]  # C, P

    @property
    def dense(self) -> Floats:
        """The value at each point, (C, P)."""
        places_E = self.clusters * self.shape[1] + self.starts
        lengths_E = np.diff(places_E, append=self.shape[0] * self.shape[1])
        return np.repeat(self.values, lengths_E).reshape(self.shape)

    @property
    def steps(self) -> coo_array:
        """What each point adds to the one before it, (P, C); the first point adds all it has."""
        before_E = np.where(self.starts > 0, np.roll(self.values, 1), 0.0)
        steps_E = self.values - before_E
        there_E = steps_E != 0
        places = self.starts[there_E], self.clusters[there_E]
        return coo_array((steps_E[there_E], places), shape=self.shape[::-1])

    def after(self, first_C: Floats | Ints) -> "Runs":
        """These values behind a point that has others."""
        firsts_C = np.flatnonzero(self.starts == 0)
        return Runs(
            np.insert(self.clusters, firsts_C, self.clusters[firsts_C]),
            np.insert(self.starts + 1, firsts_C, 0),
            np.insert(self.values, firsts_C, first_C),
            (self.shape[0], self.shape[1] + 1),
        )

    def with_values(self, values_E: Floats) -> "Runs":
        """Other values that change at the same points."""
        return replace(self, values=values_E)


class Changes:
    """The points at which clusters pass on to another value, and what their rows do there.

    `piece_NP` tells which of its pieces each row is on. What is added up of a cluster is in the
    order of its units, and of a unit in that of its rows.
    """

    def __init__(self, piece_NP: NDArray[Any], clusters_N: Ints, units_N: Ints) -> None:
        num_points, sizes_C = piece_NP.shape[1], np.bincount(clusters_N)
        changed = np.flatnonzero(piece_NP[:, 1:] != piece_NP[:, :-1])
        rows, points = np.divmod(changed, max(num_points - 1, 1))
        firsts = np.arange(len(sizes_C)) * num_points
        places_E = np.unique(np.concatenate([firsts, clusters_N[rows] * num_points + points + 1]))
        self.shape = (len(sizes_C), num_points)
        self.clusters_E, self.starts_E = np.divmod(places_E, num_points)
        sizes_E = sizes_C[self.clusters_E]
        self.firsts_E = np.cumsum(sizes_E) - sizes_E
        order_N, begins_C = np.lexsort((units_N, clusters_N)), np.cumsum(sizes_C) - sizes_C
        shift_E = begins_C[self.clusters_E] - self.firsts_E
        self.rows_F = order_N[np.arange(sizes_E.sum()) + np.repeat(shift_E, sizes_E)]
        self.piece_F = piece_NP[self.rows_F, np.repeat(self.starts_E, sizes_E)]
        self.units_N = units_N

    def totals(self, values_NJ: NDArray[Any]) -> Runs:
        """The totals of a number that each row has on each of its pieces."""
        values_F = values_NJ[self.rows_F, self.piece_F].astype(np.float64)
        return self._runs(np.add.reduceat(values_F, self.firsts_E))

    def totals_of_minima(self, values_NJ: Floats, less_U: Floats | None = None) -> Runs:
        """The totals of the least value of each unit, of which `less_U` is taken off."""
        units_F = self.units_N[self.rows_F]
        begins_F = np.diff(units_F, prepend=-1) != 0
        begins_F[self.firsts_E] = True
        begins = np.flatnonzero(begins_F)
        least = np.minimum.reduceat(values_NJ[self.rows_F, self.piece_F], begins)
        if less_U is not None:
            least = least - less_U[units_F[begins]]
        return self._runs(np.add.reduceat(least, np.searchsorted(begins, self.firsts_E)))

    def _runs(self, values_E: Floats) -> Runs:
        return Runs(self.clusters_E, self.starts_E, values_E, self.shape)

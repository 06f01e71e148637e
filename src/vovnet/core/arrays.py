"""Types of arrays, and what is added up over the rows of a unit.

Shapes: N rows, U units (samples, or circular groups), K quantities.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

EPSILON = 1e-9
"""What rounding may make of nothing: numbers of the size of 1 that differ by less are the same."""


def unit_codes(names: Sequence[Hashable]) -> Ints:
    """Number of each row's unit, counted by first appearance, (N,)."""
    return pd.factorize(np.array(names, dtype=object))[0]


def rows_of_each(names: Sequence[str] | NDArray[np.object_]) -> dict[str, Ints]:
    """The rows of each name, ascending, by names in the order of their first appearance."""
    codes_N, found = pd.factorize(np.array(names, dtype=object))
    ends = np.cumsum(np.bincount(codes_N))[:-1]
    parts = np.split(codes_N.argsort(kind="stable"), ends)
    return dict(zip(found.tolist(), parts, strict=False))


def unit_sums(values_NK: Floats, units_N: Ints) -> Floats:
    """Total of each unit's rows, (U, K)."""
    return _by_unit(np.add, 0.0, values_NK, units_N)


def unit_minima(values_NK: Floats, units_N: Ints) -> Floats:
    """Least value of each unit's rows, (U, K): a group is right when every pass is right."""
    return _by_unit(np.minimum, np.inf, values_NK, units_N)


def _by_unit(combine: np.ufunc, of_none: float, values_NK: Floats, units_N: Ints) -> Floats:
    """The rows of each unit combined, `of_none` for a number that no row has."""
    if np.array_equal(units_N, np.arange(len(units_N))):  # a row each
        return values_NK.astype(np.float64)
    found_UK = np.full((units_N.max(initial=-1) + 1, *values_NK.shape[1:]), of_none)
    if len(units_N):
        order_N = units_N.argsort(kind="stable")
        firsts = np.flatnonzero(np.diff(units_N[order_N], prepend=-1))
        found_UK[units_N[order_N[firsts]]] = combine.reduceat(values_NK[order_N], firsts, axis=0)
    return found_UK

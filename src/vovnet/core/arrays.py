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


def unit_codes(names: Sequence[Hashable]) -> Ints:
    """Number of each row's unit, counted by first appearance, (N,)."""
    return pd.factorize(np.array(names, dtype=object))[0]


def unit_sums(values_NK: Floats, units_N: Ints) -> Floats:
    """Total of each unit's rows, (U, K)."""
    totals_UK = np.zeros((int(units_N.max()) + 1, *values_NK.shape[1:]))
    np.add.at(totals_UK, units_N, values_NK)
    return totals_UK


def unit_minima(values_NK: Floats, units_N: Ints) -> Floats:
    """Least value of each unit's rows, (U, K): a group is right when every pass is right."""
    minima_UK = np.full((units_N.max(initial=-1) + 1, *values_NK.shape[1:]), np.inf)
    np.minimum.at(minima_UK, units_N, values_NK)
    return minima_UK

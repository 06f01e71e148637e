"""Gains over the mixing hull and at equal cost, as tables and figures read them."""

from __future__ import annotations

import pandas as pd

from vovnet.evaluation.columns import EQUAL_COST_COLUMNS, GAIN_SHARES, HULL_SCORES
from vovnet.report.inputs import Inputs, of, over_seeds

REFERENCES = {"mixing_hull": "mixing", "resolution": "resolution"}
"""What gains at equal cost are over -> how the columns about it end."""

HALF, OWN = "50", "own"
"""Where a verdict is told in words: at half of FULL's cost, a single point at its own."""

_BY = ["dataset", "experiment", "title", "run", "at"]
_LEFT_OUT = [*_BY, "role", "reference", "reference_experiment"]
_KEPT = [name for name in EQUAL_COST_COLUMNS if name not in _LEFT_OUT]


def hull_summary(inputs: Inputs) -> pd.DataFrame:
    """The metrics against the hull over seeds; the ends of intervals are averaged."""
    ends = [name + end for name in GAIN_SHARES for end in ("_lo", "_hi")]
    measures = [*GAIN_SHARES, *(column.name for column in HULL_SCORES)]
    return over_seeds(inputs.hull, ("dataset", "experiment", "title", "role"), measures, ends)


def equal_cost_gains(inputs: Inputs) -> pd.DataFrame:
    """equal_cost.csv with both references side by side: columns `*_mixing` and `*_resolution`."""
    sides = [
        of(inputs.equal_cost, reference=reference).set_index(_BY)[_KEPT].add_suffix(f"_{short}")
        for reference, short in REFERENCES.items()
    ]
    rows = sides[0].join(sides[1], how="left").reset_index()
    return rows.assign(at=rows["at"].astype(str), avg_cost=rows["avg_cost_mixing"])

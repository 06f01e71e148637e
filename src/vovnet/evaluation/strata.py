"""Questions by what they need, and what every policy does on each kind: strata.csv.

The kind of a question is told by what other seeds made of it, of a single seed by the ceiling of a
text-only policy (`vovnet.evaluation.expected`), never by the outcomes that are then counted: sorted
by its own outcomes, a kind would hold the lucky guesses of the very model that is measured. It is
the cheapest action under which a question is more likely answered right than not, or `none` where
there is no such action.

Shapes: N rows, U questions, A actions.
"""

import numpy as np
import pandas as pd

from vovnet.core.arrays import Bools, Floats, Ints, unit_minima, unit_sums
from vovnet.evaluation.columns import NO_VIEW, Row
from vovnet.evaluation.references import Comparison

LIKELY = 0.5


def strata_of(expected_NA: Floats, costs_NA: Floats, units_N: Ints) -> Ints:
    """The action that each question needs, -1 where none answers it, (U,).

    Expectations are averaged over the passes of a question. Actions are tried from the cheapest on,
    by mean cost.
    """
    sizes_U1 = np.bincount(units_N)[:, None]
    likely_UA = unit_sums(expected_NA, units_N) / sizes_U1 > LIKELY
    order_A = costs_NA.mean(axis=0).argsort(kind="stable")
    first_U = order_A[likely_UA[:, order_A].argmax(axis=1)]
    return np.where(likely_UA.any(axis=1), first_U, -1)


def strata_rows(
    comparison: Comparison, name: str, dataset: str, strata: dict[int, Ints]
) -> list[Row]:
    """Rows of strata.csv of an experiment on a set: a row per seed, point and kind of question.

    `strata` has the kind of each question, by seed. Accuracy is that of questions; cost and how
    often is looked are means over rows.
    """
    questions = comparison.asked(name, dataset)[0]
    points = range(len(comparison.experiments[name].points))
    kinds = {-1: NO_VIEW} | dict(enumerate(comparison.settings.actions))
    rows: list[Row] = []
    for seed, strata_U in strata.items():
        for point in points:
            table = comparison.samples[name].rows(questions, seed, point)
            for kind, stratum in kinds.items():
                there_U = strata_U == kind
                facts = comparison.keys(name, dataset, seed) | {"point": point, "stratum": stratum}
                rows.append(facts | _measured(table, questions.units, there_U))
    return rows


def _measured(table: pd.DataFrame, units_N: Ints, there_U: Bools) -> Row:
    """What was done on some questions; empty where there are none."""
    row: Row = {"num_questions": int(there_U.sum()), "share": float(there_U.mean())}
    if not there_U.any():
        return row
    rows = table[there_U[units_N]]
    return row | {
        "accuracy": float(unit_minima(table["score"].to_numpy(), units_N)[there_U].mean()),
        "avg_cost": float(rows["cost"].mean()),
        "look_rate": float((rows["vision_tokens"] > 0).mean()),
    }

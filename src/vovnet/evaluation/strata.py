"""Questions by what they need, kinds.csv, and what every policy does on each kind: strata.csv.

The kind of a question is told by what other seeds made of it, of a single seed by its text
(`cross_fitted` in `vovnet.evaluation.expected`), never by the outcomes that are then counted:
sorted by its own outcomes, a kind would hold the lucky guesses of the very model that is measured.
It is the cheapest action under which a question is more likely answered right than not, or `none`
where there is no such action.

Shapes: N rows, U questions, A actions, P operating points.
"""

from collections.abc import Mapping

import numpy as np

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

    `strata` has the kind of each question, by seed. Accuracy is that of questions; cost, FLOPs and
    how often is looked are means over rows.
    """
    units_N = comparison.asked(name, dataset)[0].units
    kinds = _kinds(comparison)
    rows: list[Row] = []
    for seed, strata_U in strata.items():
        done = comparison.done(name, dataset, seed)
        right_UP = unit_minima(done["score"], units_N)
        measured = [_measured(done, right_UP, strata_U == kind, units_N) for kind in kinds]
        keys = comparison.keys(name, dataset, seed)
        for point in range(right_UP.shape[1]):
            for stratum, (facts, means) in zip(kinds.values(), measured, strict=True):
                told = {key: float(values_P[point]) for key, values_P in means.items()}
                rows.append(keys | {"point": point, "stratum": stratum} | facts | told)
    return rows


def kind_rows(
    comparison: Comparison, name: str, dataset: str, strata: dict[int, Ints]
) -> list[Row]:
    """Rows of kinds.csv: the kind of each question of a set, by seed."""
    kinds = _kinds(comparison)
    names = list(dict.fromkeys(comparison.asked(name, dataset)[0].names))
    return [
        {"dataset": dataset, "seed": seed, "question": question, "stratum": kinds[kind]}
        for seed, strata_U in strata.items()
        for question, kind in zip(names, strata_U.tolist(), strict=True)
    ]


def _kinds(comparison: Comparison) -> dict[int, str]:
    """The names of all kinds, in order."""
    return {-1: NO_VIEW} | dict(enumerate(comparison.settings.actions))


def _measured(
    done: Mapping[str, Floats], right_UP: Floats, there_U: Bools, units_N: Ints
) -> tuple[Row, dict[str, Floats]]:
    """How many questions are of a kind, and what was done on them at each point; empty of none."""
    facts = {"num_questions": int(there_U.sum()), "share": float(there_U.mean())}
    if not there_U.any():
        return facts, {}
    there_N = there_U[units_N]
    return facts, {
        "accuracy": right_UP[there_U].mean(axis=0),
        "avg_cost": done["cost"][there_N].mean(axis=0),
        "avg_flops": done["flops"][there_N].mean(axis=0),
        "look_rate": (done["vision_tokens"][there_N] > 0).mean(axis=0),
    }

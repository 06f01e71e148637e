"""Ablations against the default: the same questions, seed by seed, with paired intervals.

An ablation is another run under the policy of VoVNet. Its difference to the default is the mean
over the seeds that both have, paired by question and seed; its interval says what other questions
and other trainings would change. All differences of a table are tested together.
The default counts as no worse than a recipe where even the upper end of the recipe's lead in gain
stays below a margin. Shapes: B resamples, of which the first is the data itself.
"""

from typing import Any

import numpy as np
import pandas as pd

from vovnet.config import Settings
from vovnet.config.experiments import ResolvedExperiment, ablation_experiments
from vovnet.core.arrays import Floats
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.core.resampling import LEVEL, holm, mean_over_seeds
from vovnet.evaluation.columns import (
    GAIN_SHARES,
    NON_INFERIORITY_MARGIN,
    TOKENS,
    rate_columns,
)
from vovnet.evaluation.compared import check_ablations, is_target
from vovnet.evaluation.ground import hull_gains
from vovnet.evaluation.references import Comparison

MEASURES = ("accuracy", "avg_cost", "gain_at_50")
DIFFERENCES = [
    f"difference_{name}{end}" for name in MEASURES for end in ("", "_lo", "_hi", "_p", "_beyond")
]
"""Of each measure its difference, the interval, the p-value after Holm's correction for all
differences of the table, and whether that is below 0.05."""

NOT_INFERIOR = "default_not_inferior"
"""Whether the default's gain is, at most by the margin, below the recipe's, with its interval."""

Measured = dict[str, Floats]
"""One trained model on one set at the target: each measure over the resamples, (B,), and rates."""


def compare_ablations(settings: Settings, layout: Layout) -> pd.DataFrame:
    """A row per dataset and experiment, the default first; it has no difference."""
    default, *ablations = ablation_experiments(settings) or [""]
    if not ablations:
        raise ConfigError(
            "experiments: no ablation, expected another run with the role vovnet and a sweep"
        )
    check_ablations(settings, default, ablations)
    comparison = Comparison(settings, layout, [default, *ablations])
    rows: list[dict[str, Any]] = []
    first = comparison.experiments[default]
    for dataset in first.sets:
        measured = {seed: _measured(comparison, default, dataset, seed) for seed in first.seeds}
        rows.append(_row(first, dataset, measured) | dict.fromkeys([*DIFFERENCES, NOT_INFERIOR]))
        for name in ablations:
            ablation = comparison.experiments[name]
            if dataset not in ablation.sets:
                continue
            own = {
                seed: _measured(comparison, name, dataset, seed)
                for seed in ablation.seeds
                if seed in measured
            }
            rows.append(_row(ablation, dataset, own) | _differences(own, measured))
        comparison.forget_set()
    _judge(rows)
    return pd.DataFrame(rows)


def _measured(comparison: Comparison, name: str, dataset: str, seed: int) -> Measured:
    ground = comparison.ground(name, dataset, seed)
    decided, reached = (
        found(name, dataset, seed) for found in (comparison.decided, comparison.reached)
    )
    points, frontier = decided.points[TOKENS], reached.points[TOKENS]
    lambdas = [point.lambda_cost for point in comparison.experiments[name].points]
    there = [is_target(comparison.settings, value) for value in lambdas].index(True)
    half, actions_N = list(GAIN_SHARES).index("gain_at_50"), decided.actions_at(there)
    values = {
        "accuracy": points.accuracies[:, there],
        "avg_cost": points.costs[:, there],
        "gain_at_50": hull_gains(ground, ground.curve(frontier))[:, half],
    }
    rates = enumerate(rate_columns(comparison.settings.actions))
    return values | {rate: np.mean(actions_N == action, keepdims=True) for action, rate in rates}


def _row(
    experiment: ResolvedExperiment, dataset: str, measured: dict[int, Measured]
) -> dict[str, Any]:
    """Means and deviations (ddof 1) over seeds; a single seed has no deviation."""
    row: dict[str, Any] = {
        "dataset": dataset,
        "experiment": experiment.name,
        "run": experiment.run,
        "num_seeds": len(measured),
    }
    firsts = [{name: values[0] for name, values in item.items()} for item in measured.values()]
    for name, values in pd.DataFrame(firsts).items():
        if name in MEASURES:
            row |= {f"{name}_mean": values.mean(), f"{name}_sd": values.std(ddof=1)}
        else:
            row[str(name)] = float(values.mean())
    return row


def _differences(own: dict[int, Measured], default: dict[int, Measured]) -> dict[str, Any]:
    """Ablation minus default over the seeds that both have; p-values are corrected later."""
    row: dict[str, Any] = {}
    for measure in MEASURES:
        pairs_SB = np.stack([own[seed][measure] - default[seed][measure] for seed in own])
        found = mean_over_seeds(pairs_SB[:, :, None])
        name = f"difference_{measure}"
        row |= {name: found.value.item(), f"{name}_p": found.p_value.item()}
        row |= {f"{name}_lo": found.low.item(), f"{name}_hi": found.high.item()}
    no_worse = bool(row["difference_gain_at_50_hi"] < NON_INFERIORITY_MARGIN)
    return {name: row.get(name) for name in DIFFERENCES} | {NOT_INFERIOR: no_worse}


def _judge(rows: list[dict[str, Any]]) -> None:
    """Correct the p-values for their number in the table, and say which are below 0.05."""
    names = [f"difference_{measure}" for measure in MEASURES]
    tested = [(row, name) for row in rows for name in names if row[name] is not None]
    p_values = holm(row[f"{name}_p"] for row, name in tested)
    for (row, name), p_value in zip(tested, p_values, strict=True):
        row[f"{name}_p"] = float(p_value)
        row[f"{name}_beyond"] = bool(p_value < 1 - LEVEL)

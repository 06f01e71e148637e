"""Ablations against the default: the same questions, seed by seed, with paired intervals.

An ablation is another run under the policy of VoVNet. Its difference to the default is the mean
over the seeds that both have; questions are resampled, the same ones in both and in every seed.
So the interval says what other questions would change, and the deviation over seeds, beside it,
what other trainings would. Shapes: B resamples, of which the first is the data itself.
"""

from typing import Any

import numpy as np
import pandas as pd

from vovnet.config import Settings
from vovnet.config.experiments import ResolvedExperiment, ablation_experiments, experiment_seeds
from vovnet.core.arrays import Floats
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.core.stats import percentile_interval
from vovnet.evaluation.columns import GAIN_SHARES, rate_columns
from vovnet.evaluation.references import Comparison, hull_gains

MEASURES = ("accuracy", "avg_cost", "gain_at_50")
DIFFERENCES = [
    f"difference_{name}{end}" for name in MEASURES for end in ("", "_lo", "_hi", "_beyond")
]
"""Of each measure its difference, the interval, and whether 0 lies outside of that."""

Measured = dict[str, Floats]
"""One trained model on one set at the target: each measure over the resamples, (B,), and rates."""


def compare_ablations(settings: Settings, layout: Layout) -> pd.DataFrame:
    """A row per dataset and experiment, the default first; it has no difference."""
    default, *ablations = ablation_experiments(settings) or [""]
    if not ablations:
        raise ConfigError(
            "experiments: no ablation, expected another run with the role vovnet and a sweep"
        )
    for name in ablations:
        _check_comparable(settings, default, name)
    comparison = Comparison(settings, layout, [default, *ablations])
    rows: list[dict[str, Any]] = []
    first = comparison.experiments[default]
    for dataset in first.sets:
        measured = {seed: _measured(comparison, default, dataset, seed) for seed in first.seeds}
        rows.append(_row(first, dataset, measured) | dict.fromkeys(DIFFERENCES))
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
    return pd.DataFrame(rows)


def _check_comparable(settings: Settings, default: str, name: str) -> None:
    first, second = settings.experiments[default], settings.experiments[name]
    if first.max_samples != second.max_samples:
        raise ConfigError(
            f"experiments.{name}.max_samples: expected that of {default!r}, {first.max_samples},"
            f" to compare the same questions; got {second.max_samples}"
        )
    if not set(experiment_seeds(settings, default)) & set(experiment_seeds(settings, name)):
        raise ConfigError(f"experiments.{name}.seeds: expected one that {default!r} has too")
    if "cost_scale" in settings.runs[second.run].get("policy", {}):
        raise ConfigError(
            f"runs.{second.run}.policy.cost_scale: an ablation needs the default's unit of cost"
        )


def _measured(comparison: Comparison, name: str, dataset: str, seed: int) -> Measured:
    ground = comparison.ground(name, dataset, seed)
    actions_NP, points = comparison.decided(name, dataset, seed)
    target = comparison.settings.report.target_lambda
    lambdas = [point.lambda_cost for point in comparison.experiments[name].points]
    there = [index for index, value in enumerate(lambdas) if np.isclose(value, target)]
    if not there:
        known = ", ".join(f"{value:g}" for value in lambdas)
        raise ConfigError(
            f"report.target_lambda: {target:g} is not a point of experiment {name!r} ({known})"
        )
    half, actions_N = list(GAIN_SHARES).index("gain_at_50"), actions_NP[:, there[0]]
    values = {
        "accuracy": points.accuracies[:, there[0]],
        "avg_cost": points.costs[:, there[0]],
        "gain_at_50": hull_gains(ground, points)[:, half],
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
    """Ablation minus default over the seeds that both have, with a paired interval."""
    found: list[float | bool] = []
    for measure in MEASURES:
        pairs = [own[seed][measure] - default[seed][measure] for seed in own]
        difference_B = np.mean(pairs, axis=0)
        low, high = (float(end) for end in percentile_interval(difference_B[1:]))
        found += [float(difference_B[0]), low, high, bool(low > 0 or high < 0)]
    return dict(zip(DIFFERENCES, found, strict=True))

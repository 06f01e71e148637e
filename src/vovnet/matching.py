"""Random policies matched to the action ratios of another experiment's results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from vovnet.config import PolicySettings, Settings, read_yaml
from vovnet.errors import ConfigError, DataError
from vovnet.files import write_text
from vovnet.layout import Layout
from vovnet.records import ACTIONS, read_results
from vovnet.steps import experiment_seeds, experiment_sets

LAMBDA_TOLERANCE = 1e-9
SUM_TOLERANCE = 1e-4

Ratios = tuple[float, float, float]
MatchedRatios = dict[str, dict[int, dict[float, Ratios]]]
"""Shares of NO, COARSE and FULL by dataset, seed and `lambda_cost`."""


def matched_path(layout: Layout, name: str) -> Path:
    return layout.eval(name) / "matched.yaml"


def write_matched(settings: Settings, layout: Layout, name: str) -> None:
    """Write the matched configuration of an experiment: its policy and the ratios to meet."""
    experiment = settings.experiments.get(name)
    if experiment is None:
        known = sorted(settings.experiments)
        raise ConfigError(f"experiments: no experiment named {name!r}, expected one of {known}")
    if experiment.match is None:
        raise ConfigError(f"experiments.{name}: no match to compute, expected a key 'match'")
    source = layout.eval(experiment.match.experiment) / "results.csv"
    results = read_results(source)
    ratios = {
        dataset: {
            seed: {
                value: list(_ratios(results, source, dataset, seed, value))
                for value in experiment.match.lambda_costs
            }
            for seed in experiment_seeds(settings, name)
        }
        for dataset in experiment_sets(settings, name)
    }
    value = {"policy": experiment.policy, "matched_experiment": experiment.match.experiment}
    write_text(matched_path(layout, name), yaml.safe_dump(value | {"ratios": ratios}))


def read_matched(layout: Layout, name: str) -> MatchedRatios:
    """The ratios that `write_matched` stored."""
    path = matched_path(layout, name)
    if not path.exists():
        raise DataError(f"{path}: file not found, `vovnet match --experiment {name}` writes it")
    try:
        return {
            str(dataset): {
                int(seed): {
                    float(value): (float(no), float(coarse), float(full))
                    for value, (no, coarse, full) in by_lambda.items()
                }
                for seed, by_lambda in by_seed.items()
            }
            for dataset, by_seed in read_yaml(path)["ratios"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(
            f"{path}: expected ratios as dataset, seed, lambda_cost, three shares"
        ) from None


def fill_ratios(
    points: Sequence[PolicySettings],
    matched: MatchedRatios,
    path: Path,
    dataset: str,
    seed: int,
) -> list[PolicySettings]:
    """Each point with the ratios of its `lambda_cost`; `path` is the file they come from."""
    return [
        point.model_copy(
            update={
                "baseline_target_ratios": _ratios_of(
                    matched, path, dataset, seed, point.lambda_cost
                )
            }
        )
        for point in points
    ]


def _ratios_of(
    matched: MatchedRatios, path: Path, dataset: str, seed: int, lambda_cost: float
) -> Ratios:
    """The ratios of one point; one that the file lacks is an error."""
    for value, ratios in matched.get(dataset, {}).get(seed, {}).items():
        if _equal(value, lambda_cost):
            return _checked(ratios, path, dataset, seed, lambda_cost)
    raise DataError(f"{path}: no ratios for {dataset}, seed {seed}, lambda_cost {lambda_cost:g}")


def _ratios(
    results: pd.DataFrame, path: Path, dataset: str, seed: int, lambda_cost: float
) -> Ratios:
    """The action rates of the matched experiment's row."""
    rows = results[(results["dataset"] == dataset) & (results["seed"] == seed)]
    rows = rows[[_equal(value, lambda_cost) for value in rows["lambda_cost"]]]
    if rows.empty:
        raise DataError(f"{path}: no row for {dataset}, seed {seed}, lambda_cost {lambda_cost:g}")
    no, coarse, full = (float(rows.iloc[0][f"action_rate_{action}"]) for action in ACTIONS)
    return _checked((no, coarse, full), path, dataset, seed, lambda_cost)


def _checked(ratios: Ratios, path: Path, dataset: str, seed: int, lambda_cost: float) -> Ratios:
    if not (min(ratios) >= 0 and abs(sum(ratios) - 1) <= SUM_TOLERANCE):
        raise DataError(
            f"{path}: {dataset}, seed {seed}, lambda_cost {lambda_cost:g}: expected shares of NO,"
            f" COARSE and FULL that sum to 1, got {list(ratios)}"
        )
    return ratios


def _equal(first: float, second: float) -> bool:
    return first == second or abs(first - second) <= LAMBDA_TOLERANCE

"""Random policies matched to the action ratios of another experiment's results.

The ratios are those of all its questions, or with `match.buckets` those of each bucket of the
text pass's entropy: spending where the text is unsure, as the policy does, but no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from vovnet.config import PolicySettings, Settings, read_yaml
from vovnet.config.experiments import experiment_seeds, experiment_sets
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import write_text
from vovnet.core.layout import Layout
from vovnet.core.records import read_table, signal_columns
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS, read_results
from vovnet.policies.randomized import entropy_buckets, quantile_thresholds
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

LAMBDA_TOLERANCE = 1e-9
SUM_TOLERANCE = 1e-4

Ratios = tuple[float, float, float]


@dataclass(frozen=True)
class Buckets:
    """Thresholds of entropy (nats, ascending) and the ratios between them, surest first."""

    thresholds: list[float]
    ratios: list[Ratios]


MatchedRatios = dict[str, dict[int, dict[float, Ratios | Buckets]]]
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
    measure: Callable[[str, int, float], Any]
    if experiment.match.buckets is None:

        def measure(dataset: str, seed: int, value: float) -> list[float]:
            return list(_ratios(results, source, dataset, seed, value))

    else:
        measure = _BucketRatios(settings, layout, name, results).measure
    ratios = {
        dataset: {
            seed: {value: measure(dataset, seed, value) for value in experiment.match.lambda_costs}
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
                int(seed): {float(value): _parsed(item) for value, item in by_lambda.items()}
                for seed, by_lambda in by_seed.items()
            }
            for dataset, by_seed in read_yaml(path)["ratios"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(
            f"{path}: expected ratios as dataset, seed, lambda_cost, three shares (or thresholds"
            " and the ratios of each bucket)"
        ) from None


def fill_ratios(
    points: Sequence[PolicySettings],
    matched: MatchedRatios,
    path: Path,
    dataset: str,
    seed: int,
) -> list[PolicySettings]:
    """Each point with the ratios of its `lambda_cost`; `path` is the file they come from.

    Each trained seed has draws of its own, so that seeds are independent repetitions.
    """
    return [
        point.model_copy(
            update=_update(matched, path, dataset, seed, point.lambda_cost)
            | {"baseline_seed": point.baseline_seed + seed}
        )
        for point in points
    ]


def _parsed(item: Any) -> Ratios | Buckets:
    if isinstance(item, dict):
        rows = [_three(row) for row in item["ratios"]]
        thresholds = [float(value) for value in item["thresholds"]]
        if len(thresholds) != len(rows) - 1:
            raise ValueError("one threshold lies between two buckets")
        return Buckets(thresholds, rows)
    return _three(item)


def _three(row: Any) -> Ratios:
    no, coarse, full = row
    return float(no), float(coarse), float(full)


def _update(
    matched: MatchedRatios, path: Path, dataset: str, seed: int, lambda_cost: float
) -> dict[str, Any]:
    """The policy's keys for one point; a point that the file lacks is an error."""
    for value, found in matched.get(dataset, {}).get(seed, {}).items():
        if _equal(value, lambda_cost):
            rows = found.ratios if isinstance(found, Buckets) else [found]
            for row in rows:
                _checked(row, path, dataset, seed, lambda_cost)
            if isinstance(found, Buckets):
                return {
                    "baseline_bucket_ratios": rows,
                    "baseline_bucket_thresholds": found.thresholds,
                }
            return {"baseline_target_ratios": found}
    raise DataError(f"{path}: no ratios for {dataset}, seed {seed}, lambda_cost {lambda_cost:g}")


class _BucketRatios:
    """Reads what a matched experiment did, and how unsure the text pass was, per question."""

    def __init__(self, settings: Settings, layout: Layout, name: str, results: pd.DataFrame):
        stanza = settings.experiments[name]
        assert stanza.match is not None and stanza.match.buckets is not None
        self.count = stanza.match.buckets
        self.limits: list[float] | None = stanza.policy.get("baseline_bucket_thresholds")
        self.source = stanza.match.experiment
        self.run = settings.experiments[self.source].run
        self.layout, self.results = layout, results
        self.path = layout.eval(self.source) / "samples.parquet"
        samples = read_table(self.path, SAMPLE_RESULT_COLUMNS)
        self.samples = dict(list(samples.groupby(["dataset", "seed", "point"], sort=False)))

    def measure(self, dataset: str, seed: int, lambda_cost: float) -> dict[str, Any]:
        """Thresholds (equal parts of these questions, unless given), and ratios per bucket."""
        rows = self.samples[dataset, seed, self._point(dataset, seed, lambda_cost)]
        path = self.layout.observations(self.run, seed, dataset) / "signals.parquet"
        entropy = read_table(path, signal_columns(ACTIONS)).set_index("id")["entropy"]
        entropy_N = entropy.reindex(rows["id"]).to_numpy()
        if np.isnan(entropy_N).any():
            sample = rows["id"].iloc[int(np.isnan(entropy_N).argmax())]
            raise DataError(f"{path}: no entropy of sample {sample!r}, which is in {self.path}")
        limits = self.limits or quantile_thresholds(entropy_N, self.count)
        bucket_N, actions_N = entropy_buckets(entropy_N, limits), rows["action"].to_numpy()
        overall = _shares(actions_N)
        ratios = [
            # A bucket without questions draws for none of them; its ratios are those of all.
            _shares(actions_N[bucket_N == bucket]) if (bucket_N == bucket).any() else overall
            for bucket in range(self.count)
        ]
        return {"thresholds": limits, "ratios": ratios}

    def _point(self, dataset: str, seed: int, lambda_cost: float) -> int:
        """The index of the matched row among those of its dataset and seed."""
        row = _matched_row(
            self.results, self.layout.eval(self.source) / "results.csv", dataset, seed, lambda_cost
        )
        same = (self.results["dataset"] == dataset) & (self.results["seed"] == seed)
        return int(same.loc[: row.name].sum()) - 1


def _shares(actions_N: np.ndarray) -> list[float]:
    return [float((actions_N == action).mean()) for action in range(len(ACTIONS))]


def _ratios(
    results: pd.DataFrame, path: Path, dataset: str, seed: int, lambda_cost: float
) -> Ratios:
    """The action rates of the matched experiment's row."""
    row = _matched_row(results, path, dataset, seed, lambda_cost)
    no, coarse, full = (float(row[f"action_rate_{action}"]) for action in ACTIONS)
    return _checked((no, coarse, full), path, dataset, seed, lambda_cost)


def _matched_row(
    results: pd.DataFrame, path: Path, dataset: str, seed: int, lambda_cost: float
) -> pd.Series:
    rows = results[(results["dataset"] == dataset) & (results["seed"] == seed)]
    rows = rows[[_equal(value, lambda_cost) for value in rows["lambda_cost"]]]
    if rows.empty:
        raise DataError(f"{path}: no row for {dataset}, seed {seed}, lambda_cost {lambda_cost:g}")
    return rows.iloc[0]


def _checked(ratios: Ratios, path: Path, dataset: str, seed: int, lambda_cost: float) -> Ratios:
    if not (min(ratios) >= 0 and abs(sum(ratios) - 1) <= SUM_TOLERANCE):
        raise DataError(
            f"{path}: {dataset}, seed {seed}, lambda_cost {lambda_cost:g}: expected shares of NO,"
            f" COARSE and FULL that sum to 1, got {list(ratios)}"
        )
    return ratios


def _equal(first: float, second: float) -> bool:
    return first == second or abs(first - second) <= LAMBDA_TOLERANCE

"""Random policies matched to the action ratios of another experiment's results.

The ratios are those of all its questions, or with `match.buckets` those of each bucket of the
text pass's entropy: spending where the text is unsure, as the policy does, but no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from vovnet.config import Match, PolicySettings, Settings, read_yaml
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import write_text
from vovnet.core.layout import Layout
from vovnet.core.records import read_table, signal_columns
from vovnet.evaluation.columns import rate_columns, read_results
from vovnet.evaluation.sample_results import SampleResults
from vovnet.policies.experiments import resolve_experiment
from vovnet.policies.randomized import entropy_buckets, quantile_thresholds

LAMBDA_TOLERANCE = 1e-9
SUM_TOLERANCE = 1e-4

Shares = list[float]
"""One share per action."""


@dataclass(frozen=True)
class Buckets:
    """Thresholds of entropy (nats, ascending) and the shares between them, surest first."""

    thresholds: list[float]
    ratios: list[Shares]


MatchedRatios = dict[str, dict[int, dict[float, Shares | Buckets]]]
"""The shares of the actions by dataset, seed and `lambda_cost`."""


def matched_path(layout: Layout, name: str) -> Path:
    return layout.eval(name) / "matched.yaml"


def write_matched(settings: Settings, layout: Layout, name: str) -> None:
    """Write the matched configuration of an experiment: its policy and the ratios to meet."""
    experiment = resolve_experiment(settings, name)
    match = experiment.stanza.match
    if match is None:
        raise ConfigError(f"experiments.{name}: no match to compute, expected a key 'match'")
    source = _Source(experiment, layout, match)
    ratios = {
        dataset: {
            seed: {value: source.measure(dataset, seed, value) for value in match.lambda_costs}
            for seed in experiment.seeds
        }
        for dataset in experiment.sets
    }
    value = {"policy": experiment.stanza.policy, "matched_experiment": match.experiment}
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
            f"{path}: expected ratios as dataset, seed, lambda_cost, a share per action (or"
            " thresholds and the ratios of each bucket)"
        ) from None


def points_on(
    experiment: ResolvedExperiment, layout: Layout, dataset: str, seed: int
) -> list[PolicySettings]:
    """The policies of an experiment on a set and seed, where it is matched with their ratios.

    Each trained seed of a matched policy has draws of its own, so that seeds are independent
    repetitions.
    """
    if experiment.stanza.match is None:
        return experiment.points
    path = matched_path(layout, experiment.name)
    ratios = read_matched(layout, experiment.name).get(dataset, {}).get(seed, {})
    actions = experiment.settings.actions
    return [
        point.model_copy(
            update=_update(ratios, f"{path}: {dataset}, seed {seed}", point.lambda_cost, actions)
            | {"baseline_seed": point.baseline_seed + seed}
        )
        for point in experiment.points
    ]


def _parsed(item: Any) -> Shares | Buckets:
    if isinstance(item, dict):
        rows = [[float(share) for share in row] for row in item["ratios"]]
        thresholds = [float(value) for value in item["thresholds"]]
        if len(thresholds) != len(rows) - 1:
            raise ValueError("one threshold lies between two buckets")
        return Buckets(thresholds, rows)
    return [float(share) for share in item]


def _update(
    ratios: dict[float, Shares | Buckets], where: str, lambda_cost: float, actions: Sequence[str]
) -> dict[str, Any]:
    """The policy's keys for one point; a point that the file lacks is an error."""
    for value, found in ratios.items():
        if _equal(value, lambda_cost):
            rows = found.ratios if isinstance(found, Buckets) else [found]
            for row in rows:
                _check_shares(row, f"{where}, lambda_cost {lambda_cost:g}", actions)
            if isinstance(found, Buckets):
                return {
                    "baseline_bucket_ratios": rows,
                    "baseline_bucket_thresholds": found.thresholds,
                }
            return {"baseline_target_ratios": found}
    raise DataError(f"{where}: no ratios for lambda_cost {lambda_cost:g}")


class _Source:
    """The experiment whose action ratios are copied: what it did, and how unsure the text was."""

    def __init__(self, experiment: ResolvedExperiment, layout: Layout, match: Match) -> None:
        self.actions, self.buckets = experiment.settings.actions, match.buckets
        self.limits: list[float] | None = experiment.stanza.policy.get("baseline_bucket_thresholds")
        self.source = ResolvedExperiment.of(experiment.given, match.experiment)
        self.layout = layout
        self.path = layout.eval(match.experiment) / "results.csv"
        self.results = read_results(self.path)
        self.samples = SampleResults(layout, match.experiment) if match.buckets else None

    def measure(self, dataset: str, seed: int, lambda_cost: float) -> Shares | dict[str, Any]:
        """The shares of all questions, or the thresholds and shares of the buckets."""
        row = self._row(dataset, seed, lambda_cost)
        if self.buckets is not None:
            return self._bucketed(dataset, seed, self._point(row, dataset, seed))
        shares = [float(row[name]) for name in rate_columns(self.actions)]
        where = f"{self.path}: {dataset}, seed {seed}, lambda_cost {lambda_cost:g}"
        return _check_shares(shares, where, self.actions)

    def _bucketed(self, dataset: str, seed: int, point: int) -> dict[str, Any]:
        """Thresholds (equal parts of these questions, unless given), and shares per bucket."""
        assert self.samples is not None and self.buckets is not None
        rows = self.samples.tables[dataset, seed, point]
        path = self.layout.observations(self.source.run, seed, dataset) / "signals.parquet"
        entropy = read_table(path, signal_columns(self.actions)).set_index("id")["entropy"]
        entropy_N = entropy.reindex(rows["id"]).to_numpy()
        if np.isnan(entropy_N).any():
            sample = rows["id"].iloc[int(np.isnan(entropy_N).argmax())]
            raise DataError(
                f"{path}: no entropy of sample {sample!r}, which is in {self.samples.path}"
            )
        limits = self.limits or quantile_thresholds(entropy_N, self.buckets)
        bucket_N, actions_N = entropy_buckets(entropy_N, limits), rows["action"].to_numpy()
        overall = self._shares(actions_N)
        ratios = [
            # A bucket without questions draws for none of them; its shares are those of all.
            self._shares(actions_N[bucket_N == bucket]) if (bucket_N == bucket).any() else overall
            for bucket in range(self.buckets)
        ]
        return {"thresholds": limits, "ratios": ratios}

    def _row(self, dataset: str, seed: int, lambda_cost: float) -> pd.Series:
        """The row of results.csv whose shares are copied."""
        rows = self.results[self._same(dataset, seed)]
        rows = rows[[_equal(value, lambda_cost) for value in rows["lambda_cost"]]]
        if rows.empty:
            raise DataError(
                f"{self.path}: no row for {dataset}, seed {seed}, lambda_cost {lambda_cost:g}"
            )
        return rows.iloc[0]

    def _point(self, row: pd.Series, dataset: str, seed: int) -> int:
        """The index of a row among those of its dataset and seed."""
        return int(self._same(dataset, seed).loc[: row.name].sum()) - 1

    def _same(self, dataset: str, seed: int) -> pd.Series:
        return (self.results["dataset"] == dataset) & (self.results["seed"] == seed)

    def _shares(self, actions_N: np.ndarray) -> Shares:
        return [float((actions_N == action).mean()) for action in range(len(self.actions))]


def _check_shares(shares: Shares, where: str, actions: Sequence[str]) -> Shares:
    whole = min(shares) >= 0 and abs(sum(shares) - 1) <= SUM_TOLERANCE
    if not whole or len(shares) != len(actions):
        raise DataError(
            f"{where}: expected shares of {list(actions)} that sum to 1, got {list(shares)}"
        )
    return shares


def _equal(first: float, second: float) -> bool:
    return first == second or abs(first - second) <= LAMBDA_TOLERANCE

"""Random policies matched to the action ratios of another experiment's results.

The ratios are those of all its questions, or with `match.buckets` those of each bucket of the
text pass's entropy: spending where the text is unsure, as the policy does, but no more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml

from vovnet.config import Match, Settings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import write_text
from vovnet.core.layout import Layout
from vovnet.core.records import read_table, signal_columns
from vovnet.evaluation.columns import SampleResults, rate_columns, read_results
from vovnet.evaluation.matched import NEAR, Shares, check_shares, matched_path
from vovnet.policies.experiments import resolve_experiment
from vovnet.policies.randomized import entropy_buckets, quantile_thresholds


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
        own = (self.results["dataset"] == dataset) & (self.results["seed"] == seed)
        points = self.results[own].reset_index(drop=True)
        points = points[np.isclose(points["lambda_cost"], lambda_cost, rtol=0, atol=NEAR)]
        where = f"{dataset}, seed {seed}, lambda_cost {lambda_cost:g}"
        if points.empty:
            raise DataError(f"{self.path}: no row for {where}")
        if self.samples is not None:
            return self._bucketed(self.samples, dataset, seed, int(points.index[0]))
        shares = [float(points[name].iloc[0]) for name in rate_columns(self.actions)]
        return check_shares(shares, f"{self.path}: {where}", self.actions)

    def _bucketed(
        self, samples: SampleResults, dataset: str, seed: int, point: int
    ) -> dict[str, Any]:
        """Thresholds (equal parts of these questions, unless given), and shares per bucket."""
        assert self.buckets is not None
        rows = samples.tables[dataset, seed, point]
        path = self.layout.observations(self.source.run, seed, dataset) / "signals.parquet"
        entropy = read_table(path, signal_columns(self.actions)).set_index("id")["entropy"]
        entropy_N = entropy.reindex(rows["id"]).to_numpy()
        if np.isnan(entropy_N).any():
            sample = rows["id"].iloc[int(np.isnan(entropy_N).argmax())]
            raise DataError(f"{path}: no entropy of sample {sample!r}, which is in {samples.path}")
        limits = self.limits or quantile_thresholds(entropy_N, self.buckets)
        bucket_N, actions_N = entropy_buckets(entropy_N, limits), rows["action"].to_numpy()
        overall = self._shares(actions_N)
        ratios = [
            # A bucket without questions draws for none of them; its shares are those of all.
            self._shares(actions_N[bucket_N == bucket]) if (bucket_N == bucket).any() else overall
            for bucket in range(self.buckets)
        ]
        return {"thresholds": limits, "ratios": ratios}

    def _shares(self, actions_N: np.ndarray) -> Shares:
        return [float((actions_N == action).mean()) for action in range(len(self.actions))]

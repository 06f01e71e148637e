"""Random policies matched to the action ratios of another experiment's results.

The ratios are those of all its questions, or with `match.buckets` those of each bucket of the
text pass's entropy: spending where the text is unsure, as the policy does, but no more.
"""

from itertools import product
from typing import Any

import numpy as np
import yaml

from vovnet.config import NEAR, Settings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.arrays import Floats, Ints
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import write_text
from vovnet.core.layout import Layout
from vovnet.core.recorded import check_recorded
from vovnet.core.records import read_table, signal_columns
from vovnet.evaluation.columns import SampleResults, rate_columns, read_results
from vovnet.evaluation.matched import check_shares, matched_path
from vovnet.policies.experiments import resolve_experiment
from vovnet.policies.randomized import entropy_buckets, quantile_thresholds


def write_matched(settings: Settings, layout: Layout, name: str) -> None:
    """Write the matched configuration of an experiment: its policy and the ratios to meet."""
    experiment = resolve_experiment(settings, name)
    match = experiment.stanza.match
    if match is None:
        raise ConfigError(f"experiments.{name}: no match to compute, expected a key 'match'")
    path = layout.eval(match.experiment) / "results.csv"
    results, actions = read_results(path), experiment.settings.actions
    samples = SampleResults(layout, match.experiment) if match.buckets else None
    ratios: dict[str, Any] = {}
    for dataset, seed, value in product(experiment.sets, experiment.seeds, match.values):
        own = (results["dataset"] == dataset) & (results["seed"] == seed)
        points = results[own].reset_index(drop=True)
        points = points[np.isclose(points[match.column], value, rtol=0, atol=NEAR)]
        where = f"{dataset}, seed {seed}, {match.column} {value:g}"
        if points.empty:
            raise DataError(f"{path}: no row for {where}")
        if samples is None:
            row = [float(points[rate].iloc[0]) for rate in rate_columns(actions)]
            shares: Any = check_shares(row, f"{path}: {where}", actions)
        else:
            shares = _bucketed(experiment, layout, samples, dataset, seed, int(points.index[0]))
        ratios.setdefault(dataset, {}).setdefault(seed, {})[value] = shares
    policy = experiment.points[0].model_dump(
        mode="json", exclude={match.key}, exclude_defaults=True
    )
    facts = {"policy": policy, "matched_experiment": match.experiment}
    write_text(matched_path(layout, name), yaml.safe_dump(facts | {"ratios": ratios}))


def _bucketed(
    experiment: ResolvedExperiment,
    layout: Layout,
    samples: SampleResults,
    dataset: str,
    seed: int,
    point: int,
) -> dict[str, Any]:
    """Thresholds (equal parts of these questions, unless given), and shares per bucket."""
    match, actions = experiment.stanza.match, experiment.settings.actions
    assert match is not None and match.buckets is not None
    rows = samples.points(dataset, seed)[point]
    run = experiment.given.experiments[samples.name].run
    path = layout.observations(run, seed, dataset) / "signals.parquet"
    check_recorded(path, layout.observation_manifest(run, seed, dataset, "actions"))
    entropy = read_table(path, signal_columns(actions)).set_index("id")["entropy"]
    entropy_N = entropy.reindex(rows["id"]).to_numpy()
    if np.isnan(entropy_N).any():
        sample = rows["id"].iloc[int(np.isnan(entropy_N).argmax())]
        raise DataError(f"{path}: no entropy of sample {sample!r}, which is in {samples.path}")
    given = experiment.points[0].baseline_bucket_thresholds
    limits = given or quantile_thresholds(entropy_N, match.buckets)
    bucket_N = entropy_buckets(entropy_N, limits)
    ratios_KA = bucket_shares(rows["action"].to_numpy(), bucket_N, match.buckets, len(actions))
    return {"thresholds": limits, "ratios": ratios_KA.tolist()}


def bucket_shares(actions_N: Ints, bucket_N: Ints, buckets: int, num_actions: int) -> Floats:
    """The share of each action in each bucket, (buckets, A).

    A bucket without questions draws for none of them; its shares are those of all.
    """
    taken_NA = actions_N[:, None] == np.arange(num_actions)
    there_KN = bucket_N == np.arange(buckets)[:, None]
    there_KN |= ~there_KN.any(axis=1, keepdims=True)
    return np.stack([taken_NA[there_N].mean(axis=0) for there_N in there_KN])

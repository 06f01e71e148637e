"""Policies over stored observations: results.csv, summary.json and samples.parquet.

Nothing here runs a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vovnet.config import Experiment, PolicySettings, Settings, policy_points, run_settings
from vovnet.config.experiments import experiment_seeds, experiment_sets
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json, sha256_file, sha256_json
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.stats import LEVEL, bootstrap_counts
from vovnet.evaluation.match import fill_ratios, matched_path, read_matched
from vovnet.evaluation.outcome import (
    Outcome,
    action_shares,
    category_slices,
    measured_columns,
    sample_rows,
    write_experiment,
)
from vovnet.evaluation.replay import (
    Questions,
    ScoreCache,
    load_observed,
    load_questions,
    load_routers,
    replay,
)
from vovnet.pipeline.keys import step_key
from vovnet.pipeline.manifest import package_versions, source_digest
from vovnet.policies import reduced_views, setting_columns

Facts = dict[str, Any]


def evaluate_experiment(settings: Settings, layout: Layout, name: str) -> None:
    """Evaluate one experiment on every set, seed and sweep point; write its files."""
    experiment = _replayed(settings, name)
    key = step_key(settings, "evaluate", experiment=name)
    settings = run_settings(settings, experiment.run)
    points = policy_points(settings, name)
    seeds, run = experiment_seeds(settings, name), experiment.run
    routers = {seed: load_routers(settings, layout, run, seed, points) for seed in seeds}
    views = list(dict.fromkeys(view for point in points for view in reduced_views(point)))
    matched = read_matched(layout, name) if experiment.match else None
    rows: list[Facts] = []
    tables: list[pd.DataFrame] = []
    slices: list[Facts] = []
    inputs = [
        _observation_facts(settings, layout, run, seed, ROUTER_FIT)
        for seed in seeds
        if routers[seed]
    ]
    for dataset in experiment_sets(settings, name):
        questions = load_questions(settings, layout, dataset, experiment.max_samples)
        counts_BU = bootstrap_counts(
            questions.num_units, settings.eval.bootstrap_samples, settings.eval.seed
        )
        scored: ScoreCache = {}
        for seed in seeds:
            observed = load_observed(layout, run, seed, questions, scored, views)
            policies = points
            if matched is not None:
                path = matched_path(layout, name)
                policies = fill_ratios(points, matched, path, dataset, seed)
            outcomes = [replay(policy, questions, observed, routers[seed]) for policy in policies]
            keys = {"experiment": name, "dataset": dataset, "run": run, "seed": seed}
            keys["scoring"] = questions.scoring
            measured = measured_columns(outcomes, counts_BU)
            for point, (policy, outcome) in enumerate(zip(policies, outcomes, strict=True)):
                settings_read = setting_columns(policy, matched=matched is not None)
                rows.append(keys | settings_read | measured[point])
                tables.append(sample_rows(outcome, dataset, seed, point))
                slices.append(_slices(questions, outcome, seed, point))
            facts = _observation_facts(settings, layout, run, seed, dataset)
            if views:
                facts["views"] = _view_facts(layout, run, seed, dataset, views, facts)
            if routers[seed]:
                facts["router_unseen_rate"] = {
                    key: router.unseen_rate(questions.groups(key))
                    for key, router in routers[seed].items()
                }
            inputs.append(facts)
    summary = _summary(settings, layout, name, points, key) | {
        "inputs": inputs,
        "slices": slices,
    }
    write_experiment(layout.eval(name), experiment, rows, tables, summary)


def _replayed(settings: Settings, name: str) -> Experiment:
    experiment = settings.experiments.get(name)
    if experiment is None:
        known = sorted(settings.experiments)
        raise ConfigError(f"experiments: no experiment named {name!r}, expected one of {known}")
    if experiment.mode != "replay":
        raise ConfigError(
            f"experiments.{name}.mode: {experiment.mode!r} runs the model, use `vovnet live`"
        )
    return experiment


def _slices(questions: Questions, outcome: Outcome, seed: int, point: int) -> Facts:
    """Where a policy is right and what it does, as summary.json tells it."""
    facts: Facts = {
        "dataset": questions.name,
        "seed": seed,
        "point": point,
        "accuracy": float(outcome.unit_scores.mean()),
        "action_shares": action_shares(outcome.actions),
        "by_category": category_slices(questions.categories, outcome),
    }
    if outcome.fallback is not None:
        facts["action_shares_before_fallback"] = action_shares(outcome.actions_before_fallback)
        facts["fallback_trigger_rate"] = float(outcome.fallback.mean())
    return facts


def _summary(
    settings: Settings, layout: Layout, name: str, points: Sequence[PolicySettings], key: Facts
) -> Facts:
    """What holds for the whole experiment; `key` is that of the settings it was given."""
    experiment = settings.experiments[name]
    summary: Facts = {
        "experiment": name,
        "key": key,
        "run": experiment.run,
        "seeds": experiment_seeds(settings, name),
        "datasets": experiment_sets(settings, name),
        "policies": [point.model_dump() for point in points],
        "interval": {
            "method": "percentile bootstrap over questions, paired over policies",
            "level": LEVEL,
            "num_resamples": settings.eval.bootstrap_samples,
            "seed": settings.eval.seed,
        },
        "config_hash": sha256_json(settings.model_dump(mode="json")),
        "source_digest": source_digest(),
        "versions": package_versions(),
    }
    if experiment.match is not None:
        summary["matched"] = {
            "experiment": experiment.match.experiment,
            "file": _file_facts(matched_path(layout, name)),
        }
    return summary


def _observation_facts(settings: Settings, layout: Layout, run: str, seed: int, name: str) -> Facts:
    """The manifest of an observation, and the hashes of what it was made from.

    `datasets` are the prepared splits behind the set.
    """
    path = layout.observation_manifest(run, seed, name, "actions")
    manifest = read_json(path)
    data = settings.data
    refs = data.router_fit if name == ROUTER_FIT else [data.eval_sets[name]]
    try:
        hashes = {
            "config_hash": manifest["config_hash"],
            "checkpoint_hash": manifest["key"]["checkpoint"],
            "samples_hash": manifest["key"]["samples"],
            "source_digest": manifest["source_digest"],
        }
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not the manifest of an observation, {error} is missing") from None
    return {
        "run": run,
        "seed": seed,
        "set": name,
        "manifest": _file_facts(path),
        "datasets": [
            {
                "dataset": ref.dataset,
                "split": ref.split,
                "dataset_hash": sha256_file(layout.samples(ref.dataset, ref.split)),
                "manifest": _file_facts(layout.data_manifest(ref.dataset, ref.split)),
            }
            for ref in refs
        ],
        **hashes,
    }


def _view_facts(
    layout: Layout, run: str, seed: int, name: str, views: Sequence[str], facts: Facts
) -> Facts:
    """The manifest of the reduced views, which must be of the same model as the actions."""
    path = layout.observation_manifest(run, seed, name, "views")
    manifest = read_json(path)
    try:
        missing = [view for view in views if view not in manifest["outputs"]]
        same = manifest["key"]["checkpoint"] == facts["checkpoint_hash"]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not the manifest of reduced views, {error} is missing") from None
    if missing or not same:
        fault = f"view {missing[0]!r} is missing" if missing else "of another model"
        raise DataError(f"{path}: {fault}, observe the reduced views of {name!r} again")
    return {"manifest": _file_facts(path), "names": list(views)}


def _file_facts(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": sha256_file(path)}

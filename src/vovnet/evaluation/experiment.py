"""Evaluate an experiment: results.csv, summary.json and samples.parquet.

Nothing here runs a model: replays read stored observations, live experiments what `vovnet live`
answered. Shapes: N rows, U questions, B resamples.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from vovnet.config import Settings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.files import sha256_json
from vovnet.core.layout import Layout
from vovnet.core.stats import LEVEL, bootstrap_counts
from vovnet.evaluation.match import matched_path
from vovnet.evaluation.outcome import (
    Outcome,
    action_shares,
    category_slices,
    measured_columns,
    sample_rows,
    write_experiment,
)
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.evaluation.sources import LiveRun, Replay, file_facts
from vovnet.pipeline.keys import step_key
from vovnet.pipeline.manifest import package_versions, source_digest
from vovnet.policies.experiments import resolve_experiment
from vovnet.policies.shown import setting_columns

Facts = dict[str, Any]


def evaluate_experiment(settings: Settings, layout: Layout, name: str) -> None:
    """Evaluate one experiment on every set, seed and sweep point; write its files."""
    experiment = resolve_experiment(settings, name)
    is_live = experiment.stanza.mode == "live"
    source = LiveRun(experiment, layout) if is_live else Replay(experiment, layout)
    evaluation, matched = experiment.settings.eval, experiment.stanza.match is not None
    rows: list[Facts] = []
    tables: list[pd.DataFrame] = []
    slices: list[Facts] = []
    for dataset in experiment.sets:
        questions = load_questions(
            experiment.settings, layout, dataset, experiment.stanza.max_samples
        )
        counts_BU = bootstrap_counts(
            questions.num_units, evaluation.bootstrap_samples, evaluation.seed
        )
        for seed in experiment.seeds:
            outcomes = source.outcomes(questions, seed)
            profiles = source.profiles(questions, seed, counts_BU)
            keys = {"experiment": name, "dataset": dataset, "run": experiment.run, "seed": seed}
            keys["scoring"] = questions.scoring
            measured = measured_columns(outcomes, counts_BU)
            for point, (policy, outcome) in enumerate(
                zip(experiment.points, outcomes, strict=True)
            ):
                told = setting_columns(policy, matched=matched)
                rows.append(keys | told | measured[point] | profiles[point])
                tables.append(sample_rows(outcome, dataset, seed, point))
                slices.append(_slices(questions, outcome, seed, point))
    summary = _summary(experiment, layout) | {"slices": slices} | source.facts
    write_experiment(experiment, layout, rows, tables, summary)


def _slices(questions: Questions, outcome: Outcome, seed: int, point: int) -> Facts:
    """Where a policy is right and what it does, as summary.json tells it."""
    facts: Facts = {
        "dataset": questions.name,
        "seed": seed,
        "point": point,
        "accuracy": float(outcome.unit_scores.mean()),
        "action_shares": outcome.action_shares,
        "by_category": category_slices(questions.categories, outcome),
    }
    if outcome.fallback is not None:
        facts["action_shares_before_fallback"] = action_shares(
            outcome.actions_before_fallback, outcome.action_names
        )
        facts["fallback_trigger_rate"] = float(outcome.fallback.mean())
    return facts


def _summary(experiment: ResolvedExperiment, layout: Layout) -> Facts:
    """What holds for the whole experiment."""
    name, settings = experiment.name, experiment.settings
    summary: Facts = {
        "experiment": name,
        "key": step_key(experiment.given, "evaluate", experiment=name),
        "run": experiment.run,
        "seeds": experiment.seeds,
        "datasets": experiment.sets,
        "policies": [point.model_dump() for point in experiment.points],
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
    if experiment.stanza.match is not None:
        summary["matched"] = {
            "experiment": experiment.stanza.match.experiment,
            "file": file_facts(matched_path(layout, name)),
        }
    return summary

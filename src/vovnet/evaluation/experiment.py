"""Evaluate an experiment: results.csv, summary.json and samples.parquet.

Nothing here runs a model: replays read stored observations, live experiments what `vovnet live`
answered. Shapes: N rows, U questions, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vovnet.config import Experiment, Settings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.arrays import Floats
from vovnet.core.files import sha256_json, write_json
from vovnet.core.layout import Layout
from vovnet.core.records import write_table
from vovnet.core.stats import LEVEL, bootstrap_counts, percentile_interval, resampled_means
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS, result_columns, write_results
from vovnet.evaluation.matched import matched_path
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.evaluation.replay import Outcome, action_shares
from vovnet.evaluation.sources import LiveRun, Replay, file_facts
from vovnet.pipeline.keys import step_key
from vovnet.pipeline.manifest import package_versions, source_digest
from vovnet.policies.experiments import resolve_experiment
from vovnet.policies.shown import setting_columns

Facts = dict[str, Any]

SHORT_NAMES = {
    "lambda_cost": "lambda",
    "baseline_pruning_ratio": "pruning",
    "baseline_merge_ratio": "merge",
    "baseline_long_side": "resolution",
    "baseline_max_pixels": "resolution",
    "baseline_pool_factor": "granularity",
}


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


def sample_rows(outcome: Outcome, dataset: str, seed: int, point: int) -> pd.DataFrame:
    """The outcome as rows of samples.parquet."""
    fallback_N = np.zeros(len(outcome.ids), bool) if outcome.fallback is None else outcome.fallback
    return pd.DataFrame(
        {
            "dataset": dataset,
            "seed": seed,
            "point": point,
            "id": outcome.ids,
            "action": outcome.actions,
            "view": outcome.views,
            "executed": outcome.executed,
            "prediction": outcome.texts,
            "score": outcome.scores,
            "parse_fallback": outcome.parse_fallback,
            "cost": outcome.costs,
            "vision_tokens": outcome.vision_tokens,
            "flops": outcome.flops,
            "fallback_triggered": fallback_N,
        }
    )


def measured_columns(outcomes: Sequence[Outcome], counts_BU: Floats) -> list[dict[str, Any]]:
    """What results.csv says about each outcome of one set.

    Accuracy, its interval and `num_samples` are over questions; costs and rates over rows.
    The outcomes share the resamples, so that their intervals are paired.
    """
    scores_UP = np.stack([outcome.unit_scores for outcome in outcomes], axis=1)
    low_P, high_P = percentile_interval(resampled_means(counts_BU, scores_UP))
    accuracy_P = scores_UP.mean(axis=0)
    return [
        {
            "num_samples": len(scores_UP),
            "accuracy": float(accuracy),
            "accuracy_lo": float(low),
            "accuracy_hi": float(high),
            **_row_means(outcome),
        }
        for outcome, accuracy, low, high in zip(outcomes, accuracy_P, low_P, high_P, strict=True)
    ]


def _row_means(outcome: Outcome) -> dict[str, Any]:
    means: dict[str, Any] = {
        "avg_cost": float(outcome.costs.mean()),
        "avg_vision_tokens": float(outcome.vision_tokens.mean()),
        "avg_flops": float(outcome.flops.mean()),
        "parse_fallback_rate": float(outcome.parse_fallback.mean()),
    }
    if outcome.fallback is not None:
        means["fallback_trigger_rate"] = float(outcome.fallback.mean())
    shares = outcome.action_shares
    if shares is not None:
        means |= {f"action_rate_{name}": share for name, share in shares.items()}
        means["action_ratio"] = "[" + ", ".join(f"{share:.6f}" for share in shares.values()) + "]"
    return means


def category_slices(categories: Sequence[str], outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Per category its number of questions, accuracy and action shares.

    `categories` names that of each row; rows without one are left out. A circular group counts
    in the category of its first pass.
    """
    categories_N = np.array(categories, dtype=object)
    _, first_U = np.unique(outcome.units, return_index=True)
    categories_U, scores_U = categories_N[first_U], outcome.unit_scores
    return {
        name: {
            "num_samples": int((categories_U == name).sum()),
            "accuracy": float(scores_U[categories_U == name].mean()),
            "action_shares": action_shares(
                outcome.actions[categories_N == name], outcome.action_names
            ),
        }
        for name in sorted(set(categories_U) - {""})
    }


def sweep_name(experiment: Experiment) -> str | None:
    """Short name of the swept key, as in pareto_<name>.csv: `lambda`, `threshold`, `merge`."""
    for key in experiment.sweep:
        return SHORT_NAMES.get(key, key.rpartition(".")[2].removeprefix("baseline_"))
    return None


def write_experiment(
    experiment: ResolvedExperiment,
    layout: Layout,
    rows: list[dict[str, Any]],
    samples: Sequence[pd.DataFrame],
    summary: dict[str, Any],
) -> None:
    """Write the files of an experiment, results.csv last: its existence means completion."""
    folder, actions = layout.eval(experiment.name), experiment.settings.actions
    table = pd.concat(samples, ignore_index=True)
    write_table(folder / "samples.parquet", table, SAMPLE_RESULT_COLUMNS)
    write_json(folder / "summary.json", summary)
    name = sweep_name(experiment.stanza)
    stems = [] if name is None else [f"pareto_{name}"]
    if name == "lambda":
        stems.append("eval_matrix")
    for stem in stems:
        _write_rows(folder / stem, rows, actions)
    write_results(folder / "results.csv", rows, actions)


def _write_rows(stem: Path, rows: list[dict[str, Any]], actions: Sequence[str]) -> None:
    """The rows of results.csv once more, as <stem>.csv and <stem>.json."""
    write_results(stem.with_name(stem.name + ".csv"), rows, actions)
    values = [{key: row.get(key) for key in result_columns(actions, rows)} for row in rows]
    write_json(stem.with_name(stem.name + ".json"), values)

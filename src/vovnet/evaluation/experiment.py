"""Evaluate an experiment: results.csv, summary.json and samples.parquet.

Nothing here runs a model: replays read stored observations, live experiments what `vovnet live`
answered. Shapes: N rows, U units (questions: a sample, or a circular group of which every pass
must be right), B resamples, P outcomes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from vovnet.config import Settings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.errors import DataError
from vovnet.core.files import (
    json_ready,
    read_json,
    sha256_bytes,
    sha256_file,
    write_json,
    write_text,
)
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.records import writing_table
from vovnet.core.resampling import LEVEL, Resamples, percentile_interval
from vovnet.core.shown import csv_text
from vovnet.evaluation.clusters import draw_resamples
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS, result_columns, write_results
from vovnet.evaluation.live_run import Facts, LiveRun
from vovnet.evaluation.matched import matched_path, points_on
from vovnet.evaluation.questions import Questions, load_questions, scoring_facts
from vovnet.evaluation.reliability import correctness_reliability
from vovnet.evaluation.replay import (
    Outcome,
    expectations,
    load_observed,
    load_routers,
    replay,
    router_kinds,
)
from vovnet.evaluation.scoring import load_scorer
from vovnet.pipeline.keys import step_key
from vovnet.pipeline.manifest import config_hash, package_versions, source_digest
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies.decide import setting_columns
from vovnet.policies.experiments import experiment_views, resolve_experiment
from vovnet.policies.router import GroupRouter

SHORT_NAMES = {
    "lambda_cost": "lambda",
    "baseline_pruning_ratio": "pruning",
    "baseline_merge_ratio": "merge",
    "baseline_long_side": "resolution",
    "baseline_max_pixels": "resolution",
    "baseline_pool_factor": "granularity",
}
"""Swept key -> its name in pareto_<name>.csv; others are named as they are, such as `threshold`."""


def evaluate_experiment(settings: Settings, layout: Layout, name: str) -> None:
    """Evaluate one experiment on every set, seed and sweep point; write its files."""
    experiment = resolve_experiment(settings, name)
    is_live = experiment.stanza.mode == "live"
    source = LiveRun(experiment, layout) if is_live else Replay(experiment, layout)
    evaluation, match = experiment.settings.eval, experiment.stanza.match
    rows: list[Facts] = []
    slices: list[Facts] = []
    path = layout.eval(name) / "samples.parquet"
    with writing_table(path, SAMPLE_RESULT_COLUMNS) as add:
        for dataset in experiment.sets:
            limit = experiment.stanza.max_samples
            questions = load_questions(experiment.settings, layout, dataset, limit)
            parse = experiment.settings.data.eval_sets[dataset].parse
            resamples = draw_resamples(questions, evaluation)
            for seed in experiment.seeds:
                outcomes = source.outcomes(questions, seed)
                measured = measured_columns(outcomes, resamples)
                if isinstance(source, LiveRun):
                    profiles = source.profiles(questions, seed, resamples)
                    pairs = zip(measured, profiles, strict=True)
                    measured = [told | timed for told, timed in pairs]
                keys = {"experiment": name, "dataset": dataset, "run": experiment.run, "seed": seed}
                for point, policy in enumerate(experiment.points):
                    told = keys | setting_columns(policy, match) | {"scoring": parse}
                    rows.append(told | measured[point])
                    table = outcomes[point].rows
                    add(table.assign(dataset=dataset, seed=seed, point=point))
                    slices.append(_slices(questions, outcomes[point], seed, point))
    summary = _summary(experiment, layout) | {"slices": slices} | source.facts
    _write(experiment, layout, rows, path, summary)


class Replay:
    """Outcomes of policies over stored observations; `facts` tell which files were read."""

    def __init__(self, experiment: ResolvedExperiment, layout: Layout) -> None:
        self.experiment, self.layout = experiment, layout
        self.views = experiment_views(experiment.given, experiment.name)
        self.trained = {
            seed: TrainedModel(experiment.given, layout, experiment.run, seed)
            for seed in experiment.seeds
        }
        self.routers = {
            seed: load_routers(trained, experiment.points) for seed, trained in self.trained.items()
        }
        fitted = [trained for seed, trained in self.trained.items() if self.routers[seed]]
        self.facts: Facts = {"inputs": [_observation_facts(item, ROUTER_FIT) for item in fitted]}
        if fitted:
            self.facts["calibration"] = []

    def outcomes(self, questions: Questions, seed: int) -> list[Outcome]:
        """What each point of the experiment does on a set."""
        trained, routers, name = self.trained[seed], self.routers[seed], questions.name
        policies = points_on(self.experiment, self.layout, name, seed)
        observed = load_observed(trained, questions, self.views, policies)
        expected = expectations(routers, policies, questions, observed)
        facts = _observation_facts(trained, name)
        if self.views:
            facts["views"] = _view_facts(trained, name, self.views, facts)
        for key, kind in router_kinds(policies).items():
            if isinstance(router := routers[key], GroupRouter):
                rate = router.unseen_rate(questions.known(kind.knows))
                facts["router_unseen_rate"] = {kind.knows: rate}
            keys = {"dataset": name, "seed": seed, "router": key, "knows": kind.knows}
            self.facts["calibration"] += [
                keys | {"action": action} | correctness_reliability(expected_N, score_N)
                for action, expected_N, score_N in zip(
                    observed.actions, expected[key].correctness.T, observed.scores.T, strict=True
                )
            ]
        self.facts["inputs"].append(facts)
        return [replay(policy, questions, observed, expected) for policy in policies]


def _observation_facts(trained: TrainedModel, name: str) -> Facts:
    """The manifest of an observation, and the hashes of what it was made from.

    `datasets` are the prepared splits behind the set.
    """
    path = trained.observation_manifest(name, "actions")
    manifest = read_json(path)
    data, layout = trained.settings.data, trained.layout
    try:
        hashes = {
            "config_hash": manifest["config_hash"],
            "checkpoint_hash": manifest["key"]["checkpoint"],
            "samples_hash": manifest["key"]["samples"],
            "source_digest": manifest["source_digest"],
        }
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not the manifest of an observation, {error} is missing") from None
    datasets = [
        {
            "dataset": ref.dataset,
            "split": ref.split,
            "dataset_hash": sha256_file(layout.samples(ref.dataset, ref.split)),
            "manifest": _file(layout.data_manifest(ref.dataset, ref.split)),
        }
        for ref in (data.router_fit if name == ROUTER_FIT else [data.eval_sets[name]])
    ]
    further = {"scores_told": told} if (told := manifest.get("scores_told")) else {}
    return (
        trained.facts
        | further
        | {"set": name, "manifest": _file(path), "datasets": datasets}
        | hashes
    )


def _view_facts(trained: TrainedModel, name: str, views: Sequence[str], facts: Facts) -> Facts:
    """The manifest of the reduced views, which must be of the same model as the actions."""
    path = trained.observation_manifest(name, "views")
    manifest = read_json(path)
    try:
        missing = [view for view in views if view not in manifest["outputs"]]
        same = manifest["key"]["checkpoint"] == facts["checkpoint_hash"]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not the manifest of reduced views, {error} is missing") from None
    if missing or not same:
        fault = f"view {missing[0]!r} is missing" if missing else "of another model"
        raise DataError(f"{path}: {fault}, observe the reduced views of {name!r} again")
    return {"manifest": _file(path), "names": list(views)}


def _file(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": sha256_file(path)}


def measured_columns(outcomes: Sequence[Outcome], resamples: Resamples) -> list[Facts]:
    """What results.csv says about each outcome of one set.

    Accuracy, its interval and `num_samples` are over questions; costs and rates over rows.
    The interval is the percentile bootstrap's over clusters of questions.
    """
    scores_UP = np.stack([outcome.unit_scores for outcome in outcomes], axis=1)
    low_P, high_P = percentile_interval(resamples.means(scores_UP))
    ends = ("accuracy", "accuracy_lo", "accuracy_hi")
    values_P3 = np.stack([scores_UP.mean(axis=0), low_P, high_P], axis=1).tolist()
    return [
        {"num_samples": len(scores_UP)} | dict(zip(ends, values, strict=True)) | _row_means(outcome)
        for values, outcome in zip(values_P3, outcomes, strict=True)
    ]


def _row_means(outcome: Outcome) -> Facts:
    columns = {f"avg_{name}": name for name in ("cost", "vision_tokens", "flops")}
    columns["parse_fallback_rate"] = "parse_fallback"
    if outcome.has_fallback:
        columns["fallback_trigger_rate"] = "fallback_triggered"
    rows = outcome.rows
    means: Facts = {
        key: float(rows[name].to_numpy(np.float64).mean()) for key, name in columns.items()
    }
    shares = outcome.shares(outcome.actions)
    if shares is not None:
        means |= {f"action_rate_{name}": share for name, share in shares.items()}
        means["action_ratio"] = "[" + ", ".join(f"{share:.6f}" for share in shares.values()) + "]"
    return means


def _slices(questions: Questions, outcome: Outcome, seed: int, point: int) -> Facts:
    """Where a policy is right and what it does, as summary.json tells it.

    A circular group counts in the category of its first pass; rows without one are in none.
    """
    rows_of, questions_of = questions.rows_of_category, questions.units_of_category
    scores_U, actions_N = outcome.unit_scores, outcome.actions
    facts: Facts = {
        "dataset": questions.name,
        "seed": seed,
        "point": point,
        "accuracy": float(scores_U.mean()),
        "action_shares": outcome.shares(actions_N),
        "by_category": {
            name: {
                "num_samples": len(questions_of[name]),
                "accuracy": float(scores_U[questions_of[name]].mean()),
                "action_shares": outcome.shares(actions_N[rows_of[name]]),
            }
            for name in sorted({*questions_of} - {""})
        },
    }
    scorers = {*questions.scorers}
    if outcome.rows["parse_fallback"].isna().any():  # a log told the scores, texts may be missing
        scorers = set()
    for measure in filter(None, [load_scorer(name).measures for name in scorers]):
        facts["measures"] = measure(questions.samples, outcome.rows["prediction"].tolist())
    if outcome.has_fallback:
        before = outcome.shares(outcome.actions_before_fallback)
        facts["action_shares_before_fallback"] = before
        facts["fallback_trigger_rate"] = float(outcome.rows["fallback_triggered"].to_numpy().mean())
    return facts


def _summary(experiment: ResolvedExperiment, layout: Layout) -> Facts:
    """What holds for the whole experiment."""
    name, settings, match = experiment.name, experiment.settings, experiment.stanza.match
    summary: Facts = {
        "experiment": name,
        "key": step_key(experiment.given, "evaluate", experiment=name),
        "run": experiment.run,
        "seeds": experiment.seeds,
        "datasets": experiment.sets,
        "scoring": {name: scoring_facts(settings, name) for name in experiment.sets},
        "policies": [point.model_dump() for point in experiment.points],
        "interval": {
            "method": "percentile bootstrap over clusters of questions, paired over policies",
            "level": LEVEL,
            "num_resamples": settings.eval.bootstrap_samples,
            "seed": settings.eval.seed,
        },
        "config_hash": config_hash(settings),
        "source_digest": source_digest(),
        "versions": package_versions(),
    }
    if match is not None:
        file = _file(matched_path(layout, name))
        summary["matched"] = {"experiment": match.experiment, "file": file}
    return summary


def _write(
    experiment: ResolvedExperiment,
    layout: Layout,
    rows: list[Facts],
    samples: Path,
    summary: Facts,
) -> None:
    """Write what an experiment has beside its samples, results.csv last: then it is complete."""
    folder, actions = layout.eval(experiment.name), experiment.settings.actions
    text = csv_text(pd.DataFrame(rows, columns=list(result_columns(actions, rows))))
    results = folder / "results.csv"
    outputs = {
        results.name: {"path": str(results), "sha256": sha256_bytes(text.encode())},
        samples.name: _file(samples),
    }
    write_json(folder / "summary.json", json_ready(summary | {"outputs": outputs}))
    columns = result_columns(actions, rows)
    for key in list(experiment.stanza.sweep)[:1]:
        name = SHORT_NAMES.get(key, key.rpartition(".")[2].removeprefix("baseline_"))
        for stem in [f"pareto_{name}", *(["eval_matrix"] if name == "lambda" else [])]:
            write_results(folder / f"{stem}.csv", rows, actions)
            values = [{column: row.get(column) for column in columns} for row in rows]
            write_json(folder / f"{stem}.json", json_ready(values))
    write_text(results, text)

"""Where the outcomes of an experiment come from: stored observations, or a live run.

Shapes: U questions, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vovnet.config import PolicySettings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.arrays import Floats
from vovnet.core.cost import expected_cost
from vovnet.core.errors import DataError
from vovnet.core.files import read_json, sha256_file
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.records import read_table
from vovnet.evaluation.live_columns import LIVE_COLUMNS
from vovnet.evaluation.matched import points_on
from vovnet.evaluation.profile import compare_ways, profile_columns, profile_facts
from vovnet.evaluation.questions import Questions, ScoreCache
from vovnet.evaluation.replay import Outcome, load_observed, load_routers, replay
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies import kind_of
from vovnet.policies.experiments import experiment_views

Facts = dict[str, Any]


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
        self.facts: Facts = {
            "inputs": [
                _observation_facts(trained, ROUTER_FIT)
                for seed, trained in self.trained.items()
                if self.routers[seed]
            ]
        }
        self._scored: dict[str, ScoreCache] = {}

    def outcomes(self, questions: Questions, seed: int) -> list[Outcome]:
        """What each point of the experiment does on a set."""
        trained, routers, name = self.trained[seed], self.routers[seed], questions.name
        # The seeds of a set share their scores; those of the sets before it are let go.
        self._scored = {name: self._scored.get(name, {})}
        observed = load_observed(trained, questions, self._scored[name], self.views)
        facts = _observation_facts(trained, name)
        if self.views:
            facts["views"] = _view_facts(trained, name, self.views, facts)
        if routers:
            facts["router_unseen_rate"] = {
                key: router.unseen_rate(questions.groups(key)) for key, router in routers.items()
            }
        self.facts["inputs"].append(facts)
        policies = points_on(self.experiment, self.layout, name, seed)
        return [replay(policy, questions, observed, routers) for policy in policies]

    def profiles(self, questions: Questions, seed: int, counts_BU: Floats) -> list[Facts]:
        """What results.csv says about time and memory: a replay measures neither."""
        return [{} for _ in self.experiment.points]


class LiveRun:
    """Outcomes and timings of a finished live run; `facts` are those of its live.json."""

    def __init__(self, experiment: ResolvedExperiment, layout: Layout) -> None:
        self.experiment, name = experiment, experiment.name
        table, path = layout.live_table(name), layout.live_facts(name)
        if not path.exists():
            raise DataError(f"{path}: file not found, `vovnet live --experiment {name}` writes it")
        self.rows, facts = read_table(table, LIVE_COLUMNS), read_json(path)
        self.cache_reuse: bool = facts["cache_reuse"]
        self.facts: Facts = {
            **{key: item for key, item in facts.items() if key != "key"},
            "profile": [],
            "inputs": [file_facts(table), file_facts(path)],
        }

    def outcomes(self, questions: Questions, seed: int) -> list[Outcome]:
        """What each point of the experiment answered on a set."""
        actions = self.experiment.settings.actions
        return [
            live_outcome(policy, actions, questions, self._answers(questions, seed, point))
            for point, policy in enumerate(self.experiment.points)
        ]

    def profiles(self, questions: Questions, seed: int, counts_BU: Floats) -> list[Facts]:
        """What results.csv says about time and memory; the facts get a profile per point."""
        columns = []
        for point, policy in enumerate(self.experiment.points):
            rows = self._answers(questions, seed, point)
            facts = {"dataset": questions.name, "seed": seed, "point": point}
            facts |= {"text_pass": kind_of(policy).reads_text_pass(policy), **profile_facts(rows)}
            if self.experiment.stanza.compare_cache_reuse:
                without = self._answers(questions, seed, point, cache_reuse=False)
                compared = compare_ways(rows, without, questions.units, counts_BU)
                facts["cache_reuse_comparison"] = compared
            self.facts["profile"].append(facts)
            columns.append(profile_columns(rows))
        return columns

    def _answers(
        self, questions: Questions, seed: int, point: int, cache_reuse: bool | None = None
    ) -> pd.DataFrame:
        """The rows of one set, seed and sweep point, which must be those of the questions.

        Those that count are answered with or without cache reuse as the run's facts say.
        """
        reuse = self.cache_reuse if cache_reuse is None else cache_reuse
        values = {"dataset": questions.name, "seed": seed, "point": point, "cache_reuse": reuse}
        own = (self.rows[list(values)] == list(values.values())).all(axis=1)
        found = self.rows[own].reset_index(drop=True)
        if found["id"].tolist() != [sample.id for sample in questions.samples]:
            raise DataError(
                f"live.parquet: the samples of {questions.name}, seed {seed}, point {point} are not"
                " those of the set, run `vovnet live` again"
            )
        return found


def live_outcome(
    policy: PolicySettings, actions: Sequence[str], questions: Questions, rows: pd.DataFrame
) -> Outcome:
    """The answers scored, in the form that a replay has."""
    scores_N, parse_fallback_N = questions.score(rows["text"], {})
    tokens_N = rows["vision_tokens"].to_numpy()
    return Outcome(
        ids=rows["id"].tolist(),
        units=questions.units,
        action_names=actions,
        actions=rows["action"].to_numpy(),
        views=rows["view"].to_numpy(dtype=object),
        executed=rows["executed"].to_numpy(dtype=object),
        texts=rows["text"].to_numpy(dtype=object),
        scores=scores_N,
        parse_fallback=parse_fallback_N,
        costs=expected_cost(tokens_N, policy.cost_scale),
        vision_tokens=tokens_N,
        flops=rows["flops"].to_numpy(),
        fallback=None if policy.fallback_mode is None else rows["fallback_triggered"].to_numpy(),
    )


def _observation_facts(trained: TrainedModel, name: str) -> Facts:
    """The manifest of an observation, and the hashes of what it was made from.

    `datasets` are the prepared splits behind the set.
    """
    path = trained.observation_manifest(name, "actions")
    manifest = read_json(path)
    data, layout = trained.settings.data, trained.layout
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
        **trained.facts,
        "set": name,
        "manifest": file_facts(path),
        "datasets": [
            {
                "dataset": ref.dataset,
                "split": ref.split,
                "dataset_hash": sha256_file(layout.samples(ref.dataset, ref.split)),
                "manifest": file_facts(layout.data_manifest(ref.dataset, ref.split)),
            }
            for ref in refs
        ],
        **hashes,
    }


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
    return {"manifest": file_facts(path), "names": list(views)}


def file_facts(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": sha256_file(path)}

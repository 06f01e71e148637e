"""Stored observations as tables that any policy can be replayed on.

The texts of a (run, seed, set) are scored once for all views and sweep points; every decision
is then a table operation. Shapes: N rows, A actions, U questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vovnet.config import PolicySettings
from vovnet.core.arrays import Bools, Floats, Ints, unit_minima
from vovnet.core.cost import expected_cost
from vovnet.core.errors import DataError
from vovnet.core.layout import ROUTER_FIT
from vovnet.core.records import OBSERVATION_COLUMNS, read_table, signal_columns
from vovnet.evaluation.questions import Questions, ScoreCache, load_questions
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies import kind_of
from vovnet.policies.base import Confidence, GroupKey, Router
from vovnet.policies.decide import decide
from vovnet.policies.router import fit_router

Routers = dict[GroupKey, Router]
"""The fitted routers of one trained model, by what they know."""


@dataclass(frozen=True)
class ViewAnswers:
    """What a trained model answered under one view, an entry per sample, (N,)."""

    texts: NDArray[np.object_]
    scores: Floats
    parse_fallback: Bools
    vision_tokens: Ints
    flops: Floats  # of tower and language model, after a text pass where its cache is reused
    flops_alone: Floats  # the same without a text pass
    confidence: Confidence


@dataclass(frozen=True)
class Observed:
    """What one trained model did on a set: the signals, and the answers under each view."""

    actions: Sequence[str]
    signals: pd.DataFrame
    views: Mapping[str, ViewAnswers]

    @property
    def scores(self) -> Floats:
        """The correctness under each action, (N, A)."""
        return np.stack([self.views[action].scores for action in self.actions], axis=1)

    @property
    def vision_tokens(self) -> Ints:
        """The vision tokens of each action, (N, A)."""
        return np.stack([self.views[action].vision_tokens for action in self.actions], axis=1)


@dataclass(frozen=True)
class Outcome:
    """What one policy did on one set, an entry per row, (N,).

    `actions` are indices into `action_names`, -1 for a view that is no action. A row is answered
    from its entry of `views`; `executed` names all that were looked at on the way, as in
    `coarse>full`, and costs, tokens and FLOPs are those of all of them; FLOPs are NaN where they
    were not counted. `scores` is correctness in [0, 1]; `fallback` is None where the policy has
    no fallback.
    """

    ids: Sequence[str]
    units: Ints
    action_names: Sequence[str]
    actions: Ints
    views: NDArray[np.object_]
    executed: NDArray[np.object_]
    texts: NDArray[np.object_]
    scores: Floats
    parse_fallback: Bools
    costs: Floats
    vision_tokens: Ints
    flops: Floats
    fallback: Bools | None

    @property
    def actions_before_fallback(self) -> Ints:
        """What the policy chose before the fallback overruled some of its NOs, (N,)."""
        return self.actions if self.fallback is None else np.where(self.fallback, 0, self.actions)

    @property
    def action_shares(self) -> dict[str, float] | None:
        """Share of each action by its name; None where a view is no action."""
        return action_shares(self.actions, self.action_names)

    @property
    def unit_scores(self) -> Floats:
        """Score of each question, (U,): the least of its passes."""
        return unit_minima(self.scores, self.units)


def action_shares(actions_N: Ints, names: Sequence[str]) -> dict[str, float] | None:
    """Share of each action by its name; None where a view is no action."""
    if (actions_N < 0).any():
        return None
    return {name: float((actions_N == action).mean()) for action, name in enumerate(names)}


def load_observed(
    trained: TrainedModel,
    questions: Questions,
    cache: ScoreCache | None = None,
    views: Iterable[str] = (),
) -> Observed:
    """Read and score what a trained model said about `questions`, also under further `views`.

    Rows that are not those of the prepared set, in its order, are an error.
    """
    folder, actions = trained.observations(questions.name), trained.settings.actions
    signals = _read_rows(folder / "signals.parquet", questions, signal_columns(actions))
    reuses, cache = trained.settings.eval.cache_reuse, {} if cache is None else cache
    answers = {}
    for view in dict.fromkeys([*actions, *views]):
        table = _read_rows(folder / f"{view}.parquet", questions, OBSERVATION_COLUMNS)
        answers[view] = _scored(table, questions, cache, reuses)
    return Observed(actions, signals, answers)


def _scored(
    table: pd.DataFrame, questions: Questions, cache: ScoreCache, reuses_cache: bool
) -> ViewAnswers:
    scores_N, parse_fallback_N = questions.score(table["text"], cache)
    parts = ("vision_tower", "language_model", "language_model_alone")
    tower_N, after_N, alone_N = (
        table[f"flops_{part}"].to_numpy(dtype=np.float64) for part in parts
    )
    return ViewAnswers(
        texts=table["text"].to_numpy(dtype=object),
        scores=scores_N,
        parse_fallback=parse_fallback_N,
        vision_tokens=table["vision_tokens"].to_numpy(),
        flops=tower_N + (after_N if reuses_cache else alone_N),
        flops_alone=tower_N + alone_N,
        confidence=Confidence(*(table[field.name].to_numpy() for field in fields(Confidence))),
    )


def load_routers(trained: TrainedModel, policies: Iterable[PolicySettings]) -> Routers:
    """Fit the routers of `policies` on what a trained model did on part of the training split."""
    kinds = [kind_of(policy) for policy in policies]
    keys = list(dict.fromkeys(kind.router for kind in kinds if kind.router is not None))
    if not keys:
        return {}
    questions = load_questions(trained.settings, trained.layout, ROUTER_FIT)
    observed = load_observed(trained, questions)
    tokens_NA = observed.vision_tokens.astype(np.float64)
    return {key: fit_router(questions.groups(key), observed.scores, tokens_NA) for key in keys}


def replay(
    policy: PolicySettings,
    questions: Questions,
    observed: Observed,
    routers: Routers | None = None,
) -> Outcome:
    """What a policy does on observed samples; each policy is handed only what it reads."""
    kind = kind_of(policy)
    stored = _StoredAnswers(observed, reads_text_pass=kind.reads_text_pass(policy))
    decision = decide(
        policy,
        observed.actions,
        observed.signals,
        stored.look,
        questions=questions.names,
        scores_NA_correct=observed.scores if kind.reads_correctness else None,
        groups=questions.groups(kind.router) if kind.router else None,
        router=(routers or {})[kind.router] if kind.router else None,
    )
    rows_N = np.arange(len(observed.signals))
    texts_N, scores_N, parse_fallback_N = (
        stored.pick(name, rows_N, decision.views) for name in ("texts", "scores", "parse_fallback")
    )
    return Outcome(
        ids=[sample.id for sample in questions.samples],
        units=questions.units,
        action_names=observed.actions,
        actions=decision.actions,
        views=decision.views,
        executed=decision.executed,
        texts=texts_N,
        scores=scores_N,
        parse_fallback=parse_fallback_N,
        costs=expected_cost(stored.vision_tokens, policy.cost_scale),
        vision_tokens=stored.vision_tokens,
        flops=stored.flops,
        fallback=None if policy.fallback_mode is None else decision.fallback_triggered,
    )


class _StoredAnswers:
    """Executes views by reading what was observed, and adds up what they cost, (N,)."""

    def __init__(self, observed: Observed, *, reads_text_pass: bool) -> None:
        self.views = observed.views
        self.vision_tokens = np.zeros(len(observed.signals), dtype=np.int64)
        read_N = observed.signals["flops_text_pass"].to_numpy(dtype=np.float64)
        self.flops = read_N.copy() if reads_text_pass else np.zeros_like(read_N)
        self.counted = "flops" if reads_text_pass else "flops_alone"

    def look(self, rows: Ints, views: NDArray[np.object_]) -> Confidence:
        self.vision_tokens[rows] += self.pick("vision_tokens", rows, views)
        self.flops[rows] += self.pick(self.counted, rows, views)
        return Confidence(
            *(self.pick(f"confidence.{field.name}", rows, views) for field in fields(Confidence))
        )

    def pick(self, name: str, rows: Ints, views: NDArray[np.object_]) -> NDArray[Any]:
        """A fact about each of some rows, under the view that is named for it."""
        fact = attrgetter(name)
        picked = np.empty(len(rows), dtype=fact(next(iter(self.views.values()))).dtype)
        for view in dict.fromkeys(views.tolist()):
            there = views == view
            picked[there] = fact(self.views[view])[rows[there]]
        return picked


def _read_rows(path: Path, questions: Questions, columns: dict[str, object]) -> pd.DataFrame:
    """The kept rows of a table of the whole set."""
    table = read_table(path, columns)[list(columns)]
    found = table["id"].tolist()
    if found != questions.ids:
        pairs = zip(found, questions.ids, strict=False)
        same = next((row for row, (a, b) in enumerate(pairs) if a != b), None)
        detail = (
            f"it has {len(found)} rows, the set {len(questions.ids)}"
            if same is None
            else f"row {same + 1} is {found[same]!r}, the set has {questions.ids[same]!r}"
        )
        raise DataError(
            f"{path}: the observed samples are not those of set {questions.name!r}"
            f" ({detail}), observe it again"
        )
    return table[questions.kept].reset_index(drop=True)

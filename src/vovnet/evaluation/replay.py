"""Stored observations as tables that any policy can be replayed on.

The texts of a (run, seed, set) are scored once for all views and sweep points; every decision
is then a table operation. Shapes: N rows, A actions, U questions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vovnet.config import PolicySettings
from vovnet.core.arrays import Floats, Ints, unit_minima
from vovnet.core.cost import expected_cost
from vovnet.core.errors import DataError
from vovnet.core.layout import ROUTER_FIT
from vovnet.core.recorded import check_recorded
from vovnet.core.records import OBSERVATION_COLUMNS, read_states, read_table, signal_columns
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies import kind_of
from vovnet.policies.base import Confidence, Expected, Known, Router, RouterKind
from vovnet.policies.decide import Decision, decide

SCORED = ("text", "score", "parse_fallback")
"""What an answer says, and what is said of it."""

Routers = Mapping[str, Router]
"""The fitted routers of one trained model, see `router_key`."""


@dataclass(frozen=True)
class Observed:
    """What one trained model did on a set: the signals, and the answers under each view.

    A view has a row per sample, with the columns of an observation, its `score`, and `flops` of
    tower and language model, after a text pass whose cache is reused where the settings say so;
    `flops_alone` are those without a text pass. `states` are the hidden states of the text pass,
    (N, F), where they were asked for.
    """

    actions: Sequence[str]
    signals: pd.DataFrame
    views: Mapping[str, pd.DataFrame]
    states: Floats | None = None
    _told: dict[str, Any] = field(default_factory=dict, init=False)

    @property
    def scores(self) -> Floats:
        """The correctness under each action, (N, A)."""
        return np.stack([self.views[action]["score"] for action in self.actions], axis=1)

    @property
    def vision_tokens(self) -> Ints:
        """The vision tokens of each action, (N, A)."""
        return np.stack([self.views[action]["vision_tokens"] for action in self.actions], axis=1)

    @property
    def flops(self) -> Floats:
        """The FLOPs of each action without a text pass, NaN where they were not counted, (N, A)."""
        return np.stack([self.views[action]["flops_alone"] for action in self.actions], axis=1)

    def places(self, views: Iterable[str]) -> Ints:
        """The place of each view among `views`, by which `pick` knows it."""
        known = {view: place for place, view in enumerate(self.views)}
        return np.array([known[view] for view in views], dtype=np.int64)

    def pick(self, name: str, rows: Ints, places: Ints) -> Any:
        """A fact about each of some rows, under the view whose place is told for it."""
        return self._facts(name).take(places * len(self.signals) + rows)

    def _facts(self, name: str) -> Any:
        """A fact under one view after the other, (V * N,); texts stay as tables hold them."""
        if name not in self._told:
            told = pd.concat([table[name] for table in self.views.values()], ignore_index=True)
            is_text = isinstance(told.dtype, pd.StringDtype)
            self._told[name] = told.array if is_text else told.to_numpy()
        return self._told[name]


@dataclass(frozen=True)
class Outcome:
    """What one policy did on one set: `rows` are those of samples.parquet, (N,).

    `action` is an index into `action_names`, -1 for a view that is no action. A row is answered
    from its `view`; `executed` names all that were looked at on the way, as in `coarse>full`, and
    costs, tokens and FLOPs are those of all of them; FLOPs are NaN where they were not counted.
    """

    rows: pd.DataFrame
    units: Ints
    action_names: Sequence[str]
    has_fallback: bool

    @property
    def actions(self) -> Ints:
        """The action of each row, (N,)."""
        return self.rows["action"].to_numpy()

    @property
    def actions_before_fallback(self) -> Ints:
        """What the policy chose before the fallback overruled some of its NOs, (N,)."""
        return np.where(self.rows["fallback_triggered"], 0, self.actions)

    def shares(self, actions: Ints) -> dict[str, float] | None:
        """Share of each action by its name; None where a view is no action."""
        if (actions < 0).any():
            return None
        counts_A = np.bincount(actions, minlength=len(self.action_names))
        return dict(zip(self.action_names, (counts_A / len(actions)).tolist(), strict=True))

    @cached_property
    def unit_scores(self) -> Floats:
        """Score of each question, (U,): the least of its passes."""
        return unit_minima(self.rows["score"].to_numpy(), self.units)


def scored_outcome(
    policy: PolicySettings, actions: Sequence[str], questions: Questions, rows: pd.DataFrame
) -> Outcome:
    """Answers to `questions`, whose `text` is scored unless the rows have scores already.

    Their `vision_tokens` are priced.
    """
    known = rows.rename(columns={"text": "prediction"})
    if "score" not in rows:
        scores_N, parse_fallback_N = questions.score(rows["text"].tolist())
        known = known.assign(score=scores_N, parse_fallback=parse_fallback_N)
    known = known.assign(cost=expected_cost(rows["vision_tokens"], policy.cost_scale))
    return Outcome(known, questions.units, actions, policy.fallback_mode is not None)


def load_observed(
    trained: TrainedModel,
    questions: Questions,
    views: Iterable[str] = (),
    policies: Iterable[PolicySettings] = (),
) -> Observed:
    """Read and score what a trained model said about `questions`, also under further `views`.

    States are read where one of `policies` knows them. Rows that are not those of the prepared set,
    in its order, are an error.
    """
    folder, actions = trained.observations(questions.name), trained.settings.actions
    further = set(views) - {*actions}

    def path(table: str) -> Path:
        """Where a table lies, which must be as it was written."""
        group = "views" if table in further else "actions"
        path = folder / f"{table}.parquet"
        check_recorded(path, trained.observation_manifest(questions.name, group))
        return path

    signals = _read_rows(path("signals"), questions, signal_columns(actions))
    language = "language_model" if trained.settings.eval.cache_reuse else "language_model_alone"
    answers = {}
    for view in dict.fromkeys([*actions, *views]):
        table = _read_rows(path(view), questions, OBSERVATION_COLUMNS)
        flops = table.filter(like="flops_").astype(np.float64)
        scores_N, parse_fallback_N = questions.score(table["text"].tolist(), table.get("score"))
        answers[view] = table.assign(
            score=scores_N,
            parse_fallback=parse_fallback_N,
            flops=flops["flops_vision_tower"] + flops[f"flops_{language}"],
            flops_alone=flops["flops_vision_tower"] + flops["flops_language_model_alone"],
        )
    states = None
    if any(router.knows == "state" for router in router_kinds(policies).values()):
        states = _read_states(path("states"), questions)
    return Observed(actions, signals, answers, states)


def load_routers(trained: TrainedModel, policies: Iterable[PolicySettings]) -> Routers:
    """Fit the routers of `policies` on what a trained model did on part of the training split."""
    chosen = {router_key(policy): policy for policy in policies}
    kinds = router_kinds(chosen.values())
    if not kinds:
        return {}
    questions = load_questions(trained.settings, trained.layout, ROUTER_FIT)
    observed = load_observed(trained, questions, policies=chosen.values())
    outcomes = (observed.scores, observed.vision_tokens.astype(np.float64), trained.seed)
    return {
        key: fit(kind, chosen[key], questions, known_by(kind, questions, observed), *outcomes)
        for key, kind in kinds.items()
    }


def fit(
    kind: RouterKind,
    policy: PolicySettings,
    questions: Questions,
    known: Known,
    scores_NA: Floats,
    tokens_NA: Floats,
    seed: int,
) -> Router:
    """Fit a router on what is known of some of the questions; an error names their set."""
    try:
        return kind.fit(policy, known, scores_NA, tokens_NA, seed)
    except DataError as error:
        name = questions.name
        key = "data.router_fit" if name == ROUTER_FIT else f"data.eval_sets.{name}"
        raise DataError(f"{key}: {error}") from None


def expectations(
    routers: Routers,
    policies: Iterable[PolicySettings],
    questions: Questions,
    observed: Observed,
) -> dict[str, Expected]:
    """What the routers of `policies` expect of the questions, see `router_key`."""
    kinds = router_kinds(policies).items()
    return {key: routers[key].expected(known_by(kind, questions, observed)) for key, kind in kinds}


def known_by(router: RouterKind, questions: Questions, observed: Observed) -> Known:
    """What a router knows of the questions."""
    if router.knows != "state":
        return questions.known(router.knows)
    assert observed.states is not None, "the states were not asked for"
    return observed.states


def router_kinds(policies: Iterable[PolicySettings]) -> dict[str, RouterKind]:
    """The routers that some policies follow; policies that differ in `lambda_cost` share one."""
    kinds = {router_key(policy): kind_of(policy).router for policy in policies}
    return {key: kind for key, kind in kinds.items() if kind is not None}


def router_key(policy: PolicySettings) -> str:
    """What tells a policy's router from others: its name, or VoVNet's objective, and options."""
    name = policy.baseline_name or policy.objective
    return " ".join([name, *map(repr, sorted(policy.options.items()))])


def replay(
    policy: PolicySettings,
    questions: Questions,
    observed: Observed,
    expected: Mapping[str, Expected] | None = None,
) -> Outcome:
    """What a policy does on observed samples.

    `expected` is what routers expect of the questions, see `expectations`.
    """
    everyone_N = np.arange(len(observed.signals))
    decision, tokens_N, flops_N = execute(policy, questions, observed, expected, everyone_N)
    places_N = observed.places(decision.shown)[decision.last]
    rows = {
        "id": observed.signals["id"],
        "action": decision.actions,
        "view": decision.views,
        "executed": decision.executed,
        "fallback_triggered": decision.fallback_triggered,
        **{key: observed.pick(key, everyone_N, places_N) for key in SCORED},
        "vision_tokens": tokens_N,
        "flops": flops_N,
    }
    return scored_outcome(policy, observed.actions, questions, pd.DataFrame(rows))


def execute(
    policy: PolicySettings,
    questions: Questions,
    observed: Observed,
    expected: Mapping[str, Expected] | None,
    samples: Ints,
    values: Floats | None = None,
) -> tuple[Decision, Ints, Floats]:
    """What a policy decides about some samples, and the vision tokens and FLOPs of its looks.

    To execute a view is to read what was observed, and to add up what it costs. A policy is handed
    only what it reads. A sample may be asked about repeatedly; `values` are those of the policy's
    scalar, as in `decide`. All are of the length of `samples`.
    """
    kind, names = kind_of(policy), questions.names
    reads_text = kind.reads_text_pass(policy)
    signals = observed.signals
    if not np.array_equal(samples, np.arange(len(names))):
        signals = signals.iloc[samples].reset_index(drop=True)
        names = [names[sample] for sample in samples]
    tokens_N, flops_N = np.zeros(len(samples), np.int64), np.zeros(len(samples))
    if reads_text:
        flops_N += signals["flops_text_pass"].to_numpy()

    def look(rows: Ints, views: NDArray[np.object_]) -> Confidence:
        seen, places = samples[rows], observed.places(views)
        tokens_N[rows] += observed.pick("vision_tokens", seen, places)
        flops_N[rows] += observed.pick("flops" if reads_text else "flops_alone", seen, places)
        told = [observed.pick(item.name, seen, places) for item in fields(Confidence)]
        return Confidence(*told)

    decision = decide(
        policy,
        observed.actions,
        signals,
        look,
        questions=names,
        scores_NA_correct=observed.scores[samples] if kind.reads_correctness else None,
        expected=(expected or {})[router_key(policy)].take(samples) if kind.router else None,
        values=values,
    )
    return decision, tokens_N, flops_N


def _read_rows(path: Path, questions: Questions, columns: dict[str, object]) -> pd.DataFrame:
    """The kept rows of a table of the whole set."""
    table = read_table(path, columns)
    table = table[[*columns, *({"score"} & {*table})]]  # which the log of another program tells
    _check_ids(path, table["id"].tolist(), questions)
    return table[questions.kept].reset_index(drop=True)


def _read_states(path: Path, questions: Questions) -> Floats:
    """The kept rows of the states of the whole set, (N, F)."""
    ids, states_NF = read_states(path)
    _check_ids(path, ids, questions)
    return states_NF[questions.kept].astype(np.float64)


def _check_ids(path: Path, found: list[str], questions: Questions) -> None:
    """Refuse rows that are not those of the prepared set, in its order."""
    if found != questions.ids:
        detail = f"it has {len(found)} rows, the set {len(questions.ids)}"
        for row, (own, wanted) in enumerate(zip(found, questions.ids, strict=False), start=1):
            if own != wanted:
                detail = f"row {row} is {own!r}, the set has {wanted!r}"
                break
        raise DataError(
            f"{path}: the observed samples are not those of set {questions.name!r}"
            f" ({detail}), observe it again"
        )

"""Stored observations as tables that any policy can be replayed on.

The texts of a (run, seed, set) are scored once for all views and sweep points; every decision
is then a table operation. Shapes: N rows, A actions, U questions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
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
from vovnet.core.records import OBSERVATION_COLUMNS, read_table, signal_columns
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies import kind_of
from vovnet.policies.base import Confidence, GroupKey, Router
from vovnet.policies.decide import decide
from vovnet.policies.router import fit_router

Routers = dict[GroupKey, Router]
"""The fitted routers of one trained model, by what they know."""


@dataclass(frozen=True)
class Observed:
    """What one trained model did on a set: the signals, and the answers under each view.

    A view has a row per sample, with the columns of an observation, its `score`, and `flops` of
    tower and language model, after a text pass whose cache is reused where the settings say so;
    `flops_alone` are those without a text pass.
    """

    actions: Sequence[str]
    signals: pd.DataFrame
    views: Mapping[str, pd.DataFrame]

    @property
    def scores(self) -> Floats:
        """The correctness under each action, (N, A)."""
        return np.stack([self.views[action]["score"] for action in self.actions], axis=1)

    @property
    def vision_tokens(self) -> Ints:
        """The vision tokens of each action, (N, A)."""
        return np.stack([self.views[action]["vision_tokens"] for action in self.actions], axis=1)

    def pick(self, name: str, rows: Ints, views: NDArray[np.object_]) -> NDArray[Any]:
        """A fact about each of some rows, under the view that is named for it."""
        facts_VN = np.stack([table[name].to_numpy() for table in self.views.values()])
        return facts_VN[pd.Index(list(self.views)).get_indexer(pd.Index(views)), rows]


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
        return {name: float((actions == row).mean()) for row, name in enumerate(self.action_names)}

    @property
    def unit_scores(self) -> Floats:
        """Score of each question, (U,): the least of its passes."""
        return unit_minima(self.rows["score"].to_numpy(), self.units)


def scored_outcome(
    policy: PolicySettings, actions: Sequence[str], questions: Questions, rows: pd.DataFrame
) -> Outcome:
    """Answers to `questions`, whose `text` is scored and whose `vision_tokens` are priced."""
    scores_N, parse_fallback_N = questions.score(rows["text"])
    costs_N = expected_cost(rows["vision_tokens"], policy.cost_scale)
    known = rows.rename(columns={"text": "prediction"})
    known = known.assign(score=scores_N, parse_fallback=parse_fallback_N, cost=costs_N)
    return Outcome(known, questions.units, actions, policy.fallback_mode is not None)


def load_observed(
    trained: TrainedModel, questions: Questions, views: Iterable[str] = ()
) -> Observed:
    """Read and score what a trained model said about `questions`, also under further `views`.

    Rows that are not those of the prepared set, in its order, are an error.
    """
    folder, actions = trained.observations(questions.name), trained.settings.actions
    signals = _read_rows(folder / "signals.parquet", questions, signal_columns(actions))
    language = "language_model" if trained.settings.eval.cache_reuse else "language_model_alone"
    answers = {}
    for view in dict.fromkeys([*actions, *views]):
        table = _read_rows(folder / f"{view}.parquet", questions, OBSERVATION_COLUMNS)
        flops = table.filter(like="flops_").astype(np.float64)
        answers[view] = table.assign(
            score=questions.score(table["text"])[0],
            flops=flops["flops_vision_tower"] + flops[f"flops_{language}"],
            flops_alone=flops["flops_vision_tower"] + flops["flops_language_model_alone"],
        )
    return Observed(actions, signals, answers)


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
    policy: PolicySettings, questions: Questions, observed: Observed, routers: Routers | None = None
) -> Outcome:
    """What a policy does on observed samples; each policy is handed only what it reads.

    To execute a view is to read what was observed, and to add up what it costs.
    """
    kind, num_samples = kind_of(policy), len(observed.signals)
    reads_text = kind.reads_text_pass(policy)
    tokens_N, flops_N = np.zeros(num_samples, np.int64), np.zeros(num_samples)
    if reads_text:
        flops_N += observed.signals["flops_text_pass"].to_numpy()

    def look(rows: Ints, views: NDArray[np.object_]) -> Confidence:
        tokens_N[rows] += observed.pick("vision_tokens", rows, views)
        flops_N[rows] += observed.pick("flops" if reads_text else "flops_alone", rows, views)
        told = [observed.pick(field.name, rows, views) for field in fields(Confidence)]
        return Confidence(*told)

    decision = decide(
        policy,
        observed.actions,
        observed.signals,
        look,
        questions=questions.names,
        scores_NA_correct=observed.scores if kind.reads_correctness else None,
        groups=questions.groups(kind.router) if kind.router else None,
        router=(routers or {})[kind.router] if kind.router else None,
    )
    rows = {
        "id": [sample.id for sample in questions.samples],
        "action": decision.actions,
        "view": decision.views,
        "executed": decision.executed,
        "fallback_triggered": decision.fallback_triggered,
        "text": observed.pick("text", np.arange(num_samples), decision.views),
        "vision_tokens": tokens_N,
        "flops": flops_N,
    }
    return scored_outcome(policy, observed.actions, questions, pd.DataFrame(rows))


def _read_rows(path: Path, questions: Questions, columns: dict[str, object]) -> pd.DataFrame:
    """The kept rows of a table of the whole set."""
    table = read_table(path, columns)[list(columns)]
    found = table["id"].tolist()
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
    return table[questions.kept].reset_index(drop=True)

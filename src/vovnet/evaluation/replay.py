"""Stored observations as tables that any policy can be replayed on.

The texts of a (run, seed, set) are scored once for all views and sweep points; every decision
is then a table operation. Shapes: N rows, A actions, U questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vovnet.config import PolicySettings, Settings
from vovnet.core.cost import expected_cost
from vovnet.core.errors import DataError
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.records import OBSERVATION_COLUMNS, Sample, read_table, signal_columns
from vovnet.core.stats import Bools, Floats, Ints, unit_codes
from vovnet.data.sets import load_set
from vovnet.evaluation.outcome import Outcome
from vovnet.evaluation.scoring.base import Score
from vovnet.evaluation.scoring.score import score_sample, scorer_of
from vovnet.policies import (
    GroupKey,
    Router,
    chosen_views,
    decide,
    fit_router,
    group_of,
    kind_of,
)
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

Routers = dict[GroupKey, Router]
"""The fitted routers of one trained model, by what they know."""

ScoreCache = dict[tuple[str, str], Score]
"""Scores of one set by sample id and text: seeds and views often say the same."""


@dataclass(frozen=True)
class Questions:
    """The samples of a set that an experiment evaluates.

    `ids` are those of the whole set, in order; `kept` marks `samples` among them. `units`
    numbers the question of each sample: circular passes of one question share a number.
    """

    name: str
    ids: list[str]
    kept: Bools
    samples: list[Sample]
    units: Ints
    scorers: list[str]
    fuzzy: bool

    @property
    def num_units(self) -> int:
        return int(self.units.max()) + 1

    @property
    def names(self) -> list[str]:
        """The question of each sample, by name."""
        return [question_of(sample) for sample in self.samples]

    @property
    def categories(self) -> list[str]:
        return [sample.category for sample in self.samples]

    def groups(self, key: GroupKey) -> list[str]:
        """What a router with this key knows of each sample."""
        return [group_of(sample, key) for sample in self.samples]

    @property
    def scoring(self) -> str:
        return "fuzzy" if self.fuzzy else "official"


@dataclass(frozen=True)
class Shown:
    """What a trained model did under one view, a row per sample, (N,)."""

    texts: NDArray[np.object_]
    scores: Floats
    parse_fallback: Bools
    vision_tokens: Ints


@dataclass(frozen=True)
class Observed:
    """What one trained model did on a set: a row per sample, a column per action.

    `reduced` holds further views by their name.
    """

    signals: pd.DataFrame
    texts: NDArray[np.object_]
    scores: Floats
    parse_fallback: Bools
    vision_tokens: Ints
    reduced: Mapping[str, Shown] = field(default_factory=dict)

    def shown(self, view: str) -> Shown:
        """What the model did under a view of an action or a reduced one."""
        if view not in ACTIONS:
            return self.reduced[view]
        action = ACTIONS.index(view)
        return Shown(
            texts=self.texts[:, action],
            scores=self.scores[:, action],
            parse_fallback=self.parse_fallback[:, action],
            vision_tokens=self.vision_tokens[:, action],
        )


def question_of(sample: Sample) -> str:
    """The name of a sample's question: circular passes of one share it."""
    return sample.group or sample.id


def load_questions(
    settings: Settings, layout: Layout, name: str, max_questions: int | None = None
) -> Questions:
    """The first `max_questions` questions of an evaluation set, or of `router_fit`."""
    samples = list(load_set(settings, layout, name))
    units_N = unit_codes([question_of(sample) for sample in samples])
    kept_N = units_N < (len(samples) if max_questions is None else max_questions)
    chosen = [sample for sample, keep in zip(samples, kept_N, strict=True) if keep]
    return Questions(
        name=name,
        ids=[sample.id for sample in samples],
        kept=kept_N,
        samples=chosen,
        units=units_N[kept_N],
        scorers=[scorer_of(settings, sample) for sample in chosen],
        fuzzy=name != ROUTER_FIT and settings.data.eval_sets[name].fuzzy,
    )


def load_observed(
    layout: Layout,
    run: str,
    seed: int,
    questions: Questions,
    cache: ScoreCache | None = None,
    views: Iterable[str] = (),
) -> Observed:
    """Read and score what a trained model said about `questions`, also under reduced `views`.

    Rows that are not those of the prepared set, in its order, are an error.
    """
    folder = layout.observations(run, seed, questions.name)
    signals = _read_rows(folder / "signals.parquet", questions, signal_columns(ACTIONS))
    cache = {} if cache is None else cache
    actions = [_load_view(folder, view, questions, cache) for view in ACTIONS]
    return Observed(
        signals=signals,
        texts=np.stack([shown.texts for shown in actions], axis=1),
        scores=np.stack([shown.scores for shown in actions], axis=1),
        parse_fallback=np.stack([shown.parse_fallback for shown in actions], axis=1),
        vision_tokens=np.stack([shown.vision_tokens for shown in actions], axis=1),
        reduced={view: _load_view(folder, view, questions, cache) for view in views},
    )


def _load_view(folder: Path, view: str, questions: Questions, cache: ScoreCache) -> Shown:
    table = _read_rows(folder / f"{view}.parquet", questions, OBSERVATION_COLUMNS)
    scores = list(_scores(questions, table["text"], cache))
    return Shown(
        texts=table["text"].to_numpy(dtype=object),
        scores=np.array([score.value for score in scores]),
        parse_fallback=np.array([score.parse_fallback for score in scores]),
        vision_tokens=table["vision_tokens"].to_numpy(),
    )


def load_routers(
    settings: Settings, layout: Layout, run: str, seed: int, policies: Iterable[PolicySettings]
) -> Routers:
    """Fit the routers of `policies` on what a trained model did on part of the training split."""
    kinds = [kind_of(policy) for policy in policies]
    keys = list(dict.fromkeys(kind.router for kind in kinds if kind.router is not None))
    if not keys:
        return {}
    questions = load_questions(settings, layout, ROUTER_FIT)
    observed = load_observed(layout, run, seed, questions)
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
    decision = decide(
        policy,
        observed.signals,
        questions=questions.names,
        scores_NA_correct=observed.scores if kind.reads_correctness else None,
        groups=questions.groups(kind.router) if kind.router else None,
        router=(routers or {})[kind.router] if kind.router else None,
    )
    views_N = chosen_views(policy, decision.actions)
    shown = _pick(observed, views_N)
    return Outcome(
        ids=[sample.id for sample in questions.samples],
        units=questions.units,
        actions=decision.actions,
        views=views_N,
        texts=shown.texts,
        scores=shown.scores,
        parse_fallback=shown.parse_fallback,
        costs=expected_cost(shown.vision_tokens, policy.cost_scale),
        vision_tokens=shown.vision_tokens,
        fallback=None if policy.fallback_mode is None else decision.fallback_triggered,
    )


def _pick(observed: Observed, views_N: NDArray[np.object_]) -> Shown:
    """Of each row, what the model did under the view that was chosen for it."""
    names, codes_N = np.unique(views_N.astype(str), return_inverse=True)
    shown = [observed.shown(str(name)) for name in names]
    rows = np.arange(len(views_N))
    return Shown(
        texts=np.stack([item.texts for item in shown])[codes_N, rows],
        scores=np.stack([item.scores for item in shown])[codes_N, rows],
        parse_fallback=np.stack([item.parse_fallback for item in shown])[codes_N, rows],
        vision_tokens=np.stack([item.vision_tokens for item in shown])[codes_N, rows],
    )


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


def _scores(questions: Questions, texts: Iterable[str], cache: ScoreCache) -> Iterable[Score]:
    for sample, scorer, text in zip(questions.samples, questions.scorers, texts, strict=True):
        key = (sample.id, text)
        if key not in cache:
            cache[key] = score_sample(scorer, sample, text, fuzzy=questions.fuzzy)
        yield cache[key]

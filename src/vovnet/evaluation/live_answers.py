"""What `vovnet live` answered and measured, read again to be scored: live.parquet, live.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from vovnet.config import PolicySettings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.cost import expected_cost
from vovnet.core.errors import DataError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.core.records import read_table
from vovnet.core.stats import Floats
from vovnet.evaluation.outcome import Outcome
from vovnet.evaluation.profile import PARTS, compare_ways, profile_facts
from vovnet.evaluation.questions import Questions
from vovnet.policies import kind_of

LIVE_COLUMNS: dict[str, pa.DataType] = {
    "dataset": pa.string(),
    "seed": pa.int64(),
    "point": pa.int64(),  # index of the sweep point within its experiment
    "cache_reuse": pa.bool_(),  # whether views went on from the text pass's cache
    "id": pa.string(),
    "action": pa.int64(),  # index into the suite's actions; -1 for a view that is no action
    "view": pa.string(),  # from which the question is answered
    "executed": pa.string(),  # every view that was executed, in order, as in "coarse>full"
    "fallback_triggered": pa.bool_(),
    "text": pa.string(),
    "token_ids": pa.list_(pa.int64()),  # of the answer
    "vision_tokens": pa.int64(),  # of all executed views, as are the following counts and times
    "flops": pa.float64(),  # with the text pass; empty where they were not counted
    "generated_tokens": pa.int64(),
    **{f"{part}_ms": pa.float64() for part in PARTS},
    "memory_mb": pa.float64(),  # peak; empty where the device tells none
}
"""Columns of live.parquet: name -> type."""


@dataclass(frozen=True)
class LiveAnswers:
    """A finished live run: a row per answer, and what holds for the whole run."""

    rows: pd.DataFrame
    facts: dict[str, Any]

    @classmethod
    def read(cls, layout: Layout, name: str) -> LiveAnswers:
        path = layout.live_facts(name)
        if not path.exists():
            raise DataError(f"{path}: file not found, `vovnet live --experiment {name}` writes it")
        return cls(read_table(layout.live_table(name), LIVE_COLUMNS), read_json(path))

    def of(
        self, questions: Questions, seed: int, point: int, cache_reuse: bool | None = None
    ) -> pd.DataFrame:
        """The rows of one set, seed and sweep point, which must be those of the questions.

        Those that count are answered with or without cache reuse as the run's facts say.
        """
        rows = self.rows
        cache_reuse = self.facts["cache_reuse"] if cache_reuse is None else cache_reuse
        own = (rows["dataset"] == questions.name) & (rows["seed"] == seed)
        own &= (rows["point"] == point) & (rows["cache_reuse"] == cache_reuse)
        found = rows[own].reset_index(drop=True)
        if found["id"].tolist() != [sample.id for sample in questions.samples]:
            raise DataError(
                f"live.parquet: the samples of {questions.name}, seed {seed}, point {point} are not"
                " those of the set, run `vovnet live` again"
            )
        return found

    def profile(
        self,
        experiment: ResolvedExperiment,
        questions: Questions,
        seed: int,
        point: int,
        counts_BU: Floats,
    ) -> dict[str, Any]:
        """What summary.json tells of the timings of one set, seed and sweep point."""
        policy, rows = experiment.points[point], self.of(questions, seed, point)
        facts = {"dataset": questions.name, "seed": seed, "point": point}
        facts |= {"text_pass": kind_of(policy).reads_text_pass(policy), **profile_facts(rows)}
        if experiment.stanza.compare_cache_reuse:
            without = self.of(questions, seed, point, cache_reuse=False)
            compared = compare_ways(rows, without, questions.units, counts_BU)
            facts["cache_reuse_comparison"] = compared
        return facts


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

"""Where a policy errs: error_slices.csv and .json of an experiment.

A slice is the questions that share an action or a value of a field of the dataset. Its interval
is Wilson's, over questions: circular passes of one question count once. Shapes: N rows, U
questions, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vovnet.config import PolicySettings, Settings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.arrays import Bools, Floats, Ints, unit_minima
from vovnet.core.cost import allowed_actions
from vovnet.core.errors import DataError
from vovnet.core.files import sha256_file, write_json
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.core.stats import wilson_interval
from vovnet.evaluation.columns import Row, SampleResults, rate_columns, write_csv
from vovnet.evaluation.head_quality import action_reliability, value_reliability
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.evaluation.replay import Observed, load_observed
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies.base import NO
from vovnet.policies.experiments import resolve_experiment
from vovnet.policies.router import image_size_bucket
from vovnet.policies.shown import setting_columns

KEYS = ("dataset", "seed", "point", "lambda_cost")
NUM_WORST = 5
"""Slices per field that error_slices.json lists."""


def octave(count: int) -> str:
    """A count as the range between powers of two that it is in: "0", "1", "2-3", "4-7" ..."""
    if count < 2:
        return str(count)
    low = 1 << (count.bit_length() - 1)
    return f"{low}-{2 * low - 1}"


FIELDS: dict[str, Callable[[Sample], str]] = {
    "category": lambda sample: sample.category,
    "subject": lambda sample: sample.subject,
    "question_type": lambda sample: sample.question_type,
    "num_images": lambda sample: str(len(sample.images)),
    "num_choices": lambda sample: str(len(sample.choices)) if sample.choices else "",
    "image_size": image_size_bucket,
    "question_words": lambda sample: octave(len(sample.question.split())),
    "answer_words": lambda sample: octave(len(sample.answer_text.split())),
    "hint": lambda sample: "with" if sample.hint else "without",
}
"""Field -> its value for a sample; a sample without one is in no slice of the field."""


@dataclass(frozen=True)
class PointOnSet:
    """What a policy did on a set at one point, an entry per row, beside what was observed."""

    questions: Questions
    observed: Observed
    actions: Ints
    scores: Floats
    costs: Floats

    @property
    def false_skips(self) -> Bools:
        """Whether NO was chosen where FULL scores higher, (N,)."""
        full_N = self.observed.views["full"]["score"].to_numpy()
        return (self.actions == NO) & (full_N > self.scores)


def write_error_slices(settings: Settings, layout: Layout, name: str) -> list[Path]:
    """Write error_slices.csv and, last, error_slices.json beside an experiment's results."""
    experiment = resolve_experiment(settings, name)
    rows: list[Row] = []
    reliability: list[Row] = []
    for keys, policy, found in _points(experiment, layout):
        rows += [keys | row for row in slices_of(found)]
        reliability += [keys | item for item in _reliability(policy, found.observed)]
    outputs = [layout.eval(name) / f"error_slices{suffix}" for suffix in (".csv", ".json")]
    samples = layout.eval(name) / "samples.parquet"
    frame = write_csv(outputs[0], rows, rows[0])
    facts = {
        "experiment": name,
        "samples": {"path": str(samples), "sha256": sha256_file(samples)},
        "by_action": frame[frame["field"] == "action"].to_dict("records"),
        "worst": worst(frame).to_dict("records"),
        "reliability": reliability,
    }
    write_json(outputs[1], facts)
    return outputs


def slices_of(found: PointOnSet) -> list[Row]:
    """The whole set, then each action, then each value of each field.

    Actions are chosen row by row, so that their accuracy is that of single passes.
    """
    units_N = found.questions.units
    unit_scores_U = unit_minima(found.scores, units_N)
    overall = float(unit_scores_U.mean())
    everything_N = np.ones(len(units_N), dtype=bool)
    rows = [_slice(found, "all", "", everything_N, unit_scores_U, overall)]
    for action, name in enumerate(found.observed.actions):
        chosen_N = found.actions == action
        if chosen_N.any():
            scores, by_row = found.scores[chosen_N], float(found.scores.mean())
            rows.append(_slice(found, "action", name, chosen_N, scores, by_row))
    _, first_U = np.unique(units_N, return_index=True)
    for field, value_of in FIELDS.items():
        values_N = np.array([value_of(item) for item in found.questions.samples], dtype=object)
        values_U = values_N[first_U]
        for value in sorted(set(values_U) - {""}):
            there_U = values_U == value
            scores = unit_scores_U[there_U]
            rows.append(_slice(found, field, value, there_U[units_N], scores, overall))
    return rows


def worst(frame: pd.DataFrame, count: int = NUM_WORST, keys: Sequence[str] = KEYS) -> pd.DataFrame:
    """The slices of each field whose accuracy is lowest at best, that is by the upper end.

    A small slice with a few wrong answers has a wide interval and does not come first. Fields
    with one value, and slices as good as the whole set, are no finding.
    """
    found = frame[~frame["field"].isin(["all", "action"])]
    by = [*keys, "field"]
    several = found.groupby(by, dropna=False)["value"].transform("size") > 1
    found = found[several & (found["gap"] < 0)]
    ordered = found.sort_values(["accuracy_hi", "value"], kind="stable")
    chosen = ordered.groupby(by, sort=False, dropna=False).head(count)
    return chosen.sort_values(by, kind="stable").reset_index(drop=True)


def _slice(
    found: PointOnSet, field: str, value: str, rows_N: Bools, scores: Floats, overall: float
) -> Row:
    """One slice; its accuracy is the mean of `scores`, `overall` that of the same over the set."""
    units_N, actions = found.questions.units, found.actions[rows_N]
    accuracy, num_questions = float(scores.mean()), len(np.unique(units_N[rows_N]))
    low, high = wilson_interval(accuracy, num_questions)
    skipped_N = rows_N & (found.actions == NO)
    skips = (math.nan, math.nan, math.nan)
    if skipped_N.any():
        rate = float(found.false_skips[skipped_N].mean())
        skips = (rate, *wilson_interval(rate, len(np.unique(units_N[skipped_N]))))
    rates = enumerate(rate_columns(found.observed.actions))
    return {
        "field": field,
        "value": value,
        "num_questions": num_questions,
        "num_rows": int(rows_N.sum()),
        "accuracy": accuracy,
        "accuracy_lo": low,
        "accuracy_hi": high,
        "gap": accuracy - overall,
        "avg_entropy": float(found.observed.signals["entropy"].to_numpy()[rows_N].mean()),  # nats
        "avg_cost": float(found.costs[rows_N].mean()),
        **{name: float((actions == action).mean()) for action, name in rates},
        "num_skips": int(skipped_N.sum()),  # rows with NO
        "false_skip_rate": skips[0],  # share of them that FULL would have answered better
        "false_skip_lo": skips[1],
        "false_skip_hi": skips[2],
    }


def _reliability(policy: PolicySettings, observed: Observed) -> list[Row]:
    """What the policy head's scores tell, which only the learned policy follows."""
    if policy.baseline_name is not None:
        return []
    signals, full = observed.signals, observed.actions.index("full")
    scores_NA = signals[[f"score_{name}" for name in observed.actions]].to_numpy(dtype=np.float64)
    tokens_NA = signals[[f"tokens_{name}" for name in observed.actions]].to_numpy()
    allowed = allowed_actions(observed.actions, policy.action_space)
    return [
        action_reliability(
            policy, scores_NA[:, allowed], tokens_NA[:, allowed], observed.scores[:, allowed]
        ),
        value_reliability(scores_NA[:, full] - scores_NA[:, NO], observed.scores[:, [NO, full]]),
    ]


def _points(
    experiment: ResolvedExperiment, layout: Layout
) -> Iterator[tuple[Row, PolicySettings, PointOnSet]]:
    """What the experiment did on each set and seed at each of its points, with its keys."""
    samples = SampleResults(layout, experiment.name)
    for dataset in experiment.sets:
        questions = load_questions(
            experiment.settings, layout, dataset, experiment.stanza.max_samples
        )
        for seed in experiment.seeds:
            trained = TrainedModel(experiment.given, layout, experiment.run, seed)
            observed = load_observed(trained, questions)
            for point, policy in enumerate(experiment.points):
                rows = samples.rows(questions, seed, point)
                if (rows["action"] < 0).any():
                    raise DataError(f"{samples.path}: set {dataset!r} has views that are no action")
                did = [rows[key].to_numpy() for key in ("action", "score", "cost")]
                told = setting_columns(policy, matched=experiment.stanza.match is not None)
                values = (dataset, seed, point, told.get("lambda_cost"))
                keys = dict(zip(KEYS, values, strict=True))
                yield keys, policy, PointOnSet(questions, observed, *did)

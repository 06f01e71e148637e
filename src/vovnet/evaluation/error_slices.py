"""Where a policy errs: error_slices.csv and .json of an experiment.

A slice is the questions that share an action or a value of a field of the dataset. Its interval
is Wilson's, over clusters: questions that share an image, and circular passes of one, count as if
they were all right or all wrong together. Clusters of different sizes count as the smaller number
of equal ones that would vary as much.

The JSON also tells what the policy head's scores are worth (`vovnet.evaluation.reliability`).
Shapes: N rows, U questions, A actions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from vovnet.config import PolicySettings, Settings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.arrays import rows_of_each
from vovnet.core.cost import allowed_actions
from vovnet.core.errors import DataError
from vovnet.core.files import json_ready, sha256_file, write_json
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.core.resampling import effective_number, wilson_interval
from vovnet.evaluation.clusters import clusters_of
from vovnet.evaluation.columns import Row, SampleResults, rate_columns, write_csv
from vovnet.evaluation.matched import points_on
from vovnet.evaluation.questions import load_questions
from vovnet.evaluation.reliability import action_reliability, value_reliability
from vovnet.evaluation.replay import Observed, load_observed
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies.base import NO
from vovnet.policies.decide import setting_columns
from vovnet.policies.experiments import resolve_experiment
from vovnet.policies.router import image_size_bucket

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


def write_error_slices(settings: Settings, layout: Layout, name: str) -> list[Path]:
    """Write error_slices.csv and, last, error_slices.json beside an experiment's results."""
    experiment = resolve_experiment(settings, name)
    rows: list[Row] = []
    reliability: list[Row] = []
    for keys, policy, observed, passes in _points(experiment, layout):
        rows += [keys | row for row in slices_of(passes, observed.actions)]
        reliability += [keys | item for item in _reliability(policy, observed)]
    outputs = [layout.eval(name) / f"error_slices{suffix}" for suffix in (".csv", ".json")]
    samples = layout.eval(name) / "samples.parquet"
    frame = write_csv(outputs[0], rows, rows[0])
    facts = {
        "experiment": name,
        "samples": {"path": str(samples), "sha256": sha256_file(samples)},
        "outputs": {"csv": {"path": str(outputs[0]), "sha256": sha256_file(outputs[0])}},
        "by_action": frame[frame["field"] == "action"].to_dict("records"),
        "worst": worst(frame).to_dict("records"),
        "reliability": reliability,
    }
    write_json(outputs[1], json_ready(facts))
    return outputs


def slices_of(passes: pd.DataFrame, actions: Sequence[str]) -> list[Row]:
    """The whole set, then each action, then each value of each field.

    `passes` has the rows of samples.parquet with their question (`unit`) and its `cluster`,
    `entropy` (nats), whether each is a `false_skip`, and the values of `FIELDS`. Actions are chosen
    row by row, so that their accuracy is that of single passes.
    """
    questions = passes.groupby("unit").agg({"score": "min", "cluster": "first"})
    overall, by_row = float(questions["score"].mean()), float(passes["score"].mean())
    rows = [_slice(passes, "all", "", questions, overall, actions)]
    for action, name in enumerate(actions):
        chosen = passes[passes["action"] == action]
        if len(chosen):
            rows.append(_slice(chosen, "action", name, chosen, by_row, actions))
    first = passes.drop_duplicates("unit").set_index("unit")
    for field in FIELDS:
        units_of = rows_of_each(first[field].to_numpy())
        rows_of = rows_of_each(first[field].loc[passes["unit"]].to_numpy())
        for value in sorted({*units_of} - {""}):
            asked = questions.loc[first.index[units_of[value]]]
            there = passes.iloc[rows_of[value]]
            rows.append(_slice(there, field, value, asked, overall, actions))
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
    passes: pd.DataFrame,
    field: str,
    value: str,
    scored: pd.DataFrame,
    overall: float,
    actions: Sequence[str],
) -> Row:
    """One slice; its accuracy is the mean over `scored`, which are its questions or its rows.

    `overall` is the mean of the same over the set.
    """
    accuracy, num_questions = float(scored["score"].mean()), passes["unit"].nunique()
    low, high = _interval(accuracy, scored)
    skipped, skips = passes[passes["action"] == NO], (math.nan, math.nan, math.nan)
    if len(skipped):
        rate = float(skipped["false_skip"].mean())
        skips = (rate, *_interval(rate, skipped))
    rates = enumerate(rate_columns(actions))
    return {
        "field": field,
        "value": value,
        "num_questions": num_questions,
        "num_rows": len(passes),
        "accuracy": accuracy,
        "accuracy_lo": low,
        "accuracy_hi": high,
        "gap": accuracy - overall,
        "avg_entropy": float(passes["entropy"].mean()),  # nats
        "avg_cost": float(passes["cost"].mean()),
        **{name: float((passes["action"] == action).mean()) for action, name in rates},
        "num_skips": len(skipped),  # rows with NO
        "false_skip_rate": skips[0],  # share of them that FULL would have answered better
        "false_skip_lo": skips[1],
        "false_skip_hi": skips[2],
    }


def _interval(mean: float, averaged: pd.DataFrame) -> tuple[float, float]:
    """The interval of a mean over rows with their clusters."""
    return wilson_interval(mean, effective_number(averaged["cluster"].to_numpy()))


def _reliability(policy: PolicySettings, observed: Observed) -> list[Row]:
    """What the trained head's scores tell, which only the learned policy follows."""
    if policy.baseline_name is not None or policy.objective != "likelihood":
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
) -> Iterator[tuple[Row, PolicySettings, Observed, pd.DataFrame]]:
    """What the experiment did on each set and seed at each of its points, with its keys."""
    samples = SampleResults(layout, experiment.name)
    for dataset in experiment.sets:
        limit = experiment.stanza.max_samples
        questions = load_questions(experiment.settings, layout, dataset, limit)
        clusters_N = clusters_of(questions)[questions.units]
        fields = {name: list(map(of, questions.samples)) for name, of in FIELDS.items()}
        for seed in experiment.seeds:
            trained = TrainedModel(experiment.given, layout, experiment.run, seed)
            observed = load_observed(trained, questions)
            full_N = observed.views["full"]["score"].to_numpy()
            priced = points_on(experiment, layout, dataset, seed)
            for point, policy in enumerate(experiment.points):
                rows = samples.rows(questions, seed, point)
                if (rows["action"] < 0).any():
                    raise DataError(f"{samples.path}: set {dataset!r} has views that are no action")
                passes = rows.assign(
                    **fields,
                    unit=questions.units,
                    cluster=clusters_N,
                    entropy=observed.signals["entropy"].to_numpy(),
                    false_skip=(rows["action"] == NO) & (full_N > rows["score"]),
                )
                told = setting_columns(policy, experiment.stanza.match)
                values = (dataset, seed, point, told.get("lambda_cost"))
                yield dict(zip(KEYS, values, strict=True)), priced[point], observed, passes

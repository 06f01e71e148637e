"""Where a policy errs: error_slices.csv and .json of an experiment.

A slice is the questions that share an action or a value of a field of the dataset. Its interval
is Wilson's, over questions: circular passes of one question count once.

The JSON also tells what the policy head's scores are worth. A score is an expected log-likelihood
of the gold answer in nats, up to a constant per sample, and no probability of being right: nothing
is expected to lie on a diagonal, and even a head that knows everything has an expected calibration
error (ECE) above 0. What can be asked is whether looking helps more where its predicted value is
higher. Score differences against loss differences are measured by training (calibration.json).
Shapes: N rows, U questions, A actions, Q bins.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from vovnet.config import PolicySettings, Settings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.arrays import Bools, Floats, Ints
from vovnet.core.cost import allowed_actions, choose_actions, expected_cost
from vovnet.core.errors import DataError
from vovnet.core.files import json_ready, sha256_file, write_json
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.core.resampling import wilson_interval
from vovnet.evaluation.columns import Row, SampleResults, rate_columns, write_csv
from vovnet.evaluation.questions import load_questions
from vovnet.evaluation.replay import Observed, load_observed
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies.base import NO
from vovnet.policies.decide import setting_columns
from vovnet.policies.experiments import resolve_experiment
from vovnet.policies.router import image_size_bucket

KEYS = ("dataset", "seed", "point", "lambda_cost")
NUM_WORST = 5
"""Slices per field that error_slices.json lists."""

NUM_BINS = 10
PROBABILITY_EDGES_Q = np.arange(1, NUM_BINS) / NUM_BINS


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
        "by_action": frame[frame["field"] == "action"].to_dict("records"),
        "worst": worst(frame).to_dict("records"),
        "reliability": reliability,
    }
    write_json(outputs[1], json_ready(facts))
    return outputs


def slices_of(passes: pd.DataFrame, actions: Sequence[str]) -> list[Row]:
    """The whole set, then each action, then each value of each field.

    `passes` has the rows of samples.parquet with their question (`unit`), `entropy` (nats), whether
    each is a `false_skip`, and the values of `FIELDS`. Actions are chosen row by row, so that their
    accuracy is that of single passes.
    """
    scores_U = passes.groupby("unit")["score"].min()
    overall, by_row = float(scores_U.mean()), float(passes["score"].mean())
    rows = [_slice(passes, "all", "", scores_U, overall, actions)]
    for action, name in enumerate(actions):
        chosen = passes[passes["action"] == action]
        if len(chosen):
            rows.append(_slice(chosen, "action", name, chosen["score"], by_row, actions))
    first = passes.drop_duplicates("unit").set_index("unit")
    for field in FIELDS:
        for value in sorted(set(first[field]) - {""}):
            units = first.index[first[field] == value]
            there = passes[passes["unit"].isin(units)]
            rows.append(_slice(there, field, value, scores_U[units], overall, actions))
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
    scores: pd.Series,
    overall: float,
    actions: Sequence[str],
) -> Row:
    """One slice; its accuracy is the mean of `scores`, `overall` that of the same over the set."""
    accuracy, num_questions = float(scores.mean()), passes["unit"].nunique()
    low, high = wilson_interval(accuracy, num_questions)
    skipped, skips = passes[passes["action"] == NO], (math.nan, math.nan, math.nan)
    if len(skipped):
        rate = float(skipped["false_skip"].mean())
        skips = (rate, *wilson_interval(rate, skipped["unit"].nunique()))
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
) -> Iterator[tuple[Row, PolicySettings, Observed, pd.DataFrame]]:
    """What the experiment did on each set and seed at each of its points, with its keys."""
    samples = SampleResults(layout, experiment.name)
    for dataset in experiment.sets:
        limit = experiment.stanza.max_samples
        questions = load_questions(experiment.settings, layout, dataset, limit)
        fields = {name: list(map(of, questions.samples)) for name, of in FIELDS.items()}
        for seed in experiment.seeds:
            trained = TrainedModel(experiment.given, layout, experiment.run, seed)
            observed = load_observed(trained, questions)
            full_N = observed.views["full"]["score"].to_numpy()
            for point, policy in enumerate(experiment.points):
                rows = samples.rows(questions, seed, point)
                if (rows["action"] < 0).any():
                    raise DataError(f"{samples.path}: set {dataset!r} has views that are no action")
                passes = rows.assign(
                    **fields,
                    unit=questions.units,
                    entropy=observed.signals["entropy"].to_numpy(),
                    false_skip=(rows["action"] == NO) & (full_N > rows["score"]),
                )
                told = setting_columns(policy, experiment.stanza.match)
                values = (dataset, seed, point, told.get("lambda_cost"))
                yield dict(zip(KEYS, values, strict=True)), policy, observed, passes


# ---- what the policy head's scores tell --------------------------------------------------


def action_reliability(
    policy: PolicySettings, scores_NA: Floats, tokens_NA: Ints, correct_NA: Floats
) -> Row:
    """How often the likeliest action is the best one, by its probability.

    Probabilities are those of training, softmax((score - lambda_cost * cost) / entropy_weight): a
    distribution of given entropy, not a belief about which action is best. The best action is the
    oracle's: the cheapest of those that score highest. Bins are equally wide. All are about the
    actions that the policy may choose.
    """
    costs_NA = expected_cost(tokens_NA, policy.cost_scale)
    probabilities_NA = action_probabilities(policy, scores_NA, costs_NA)
    best_N = choose_actions(correct_NA, costs_NA, lambda_cost=0.0)
    likeliest_N = probabilities_NA.argmax(axis=1)
    predicted_N, is_best_N = probabilities_NA.max(axis=1), likeliest_N == best_N
    return {
        "kind": "action",
        "num_samples": len(predicted_N),
        "auc": area_under_roc(predicted_N, is_best_N),
        "ece": expected_calibration_error(predicted_N, is_best_N),
        "bins": _bins(predicted_N, is_best_N.astype(float), PROBABILITY_EDGES_Q),
    }


def value_reliability(value_N: Floats, correct_N2: Floats) -> Row:
    """The measured benefit of FULL over NO by its predicted value, in nats.

    The benefit is the difference of the two scores, in [-1, 1]. Bins are equally filled, ties
    aside. `auc` is about the questions that FULL answers better than NO. `ece` holds sigmoid(value)
    against which of the two is better, where they differ.
    """
    differ_N = correct_N2[:, 0] != correct_N2[:, 1]
    odds_N = 1 / (1 + np.exp(-np.clip(value_N[differ_N], -700, 700)))
    benefit_N = correct_N2[:, 1] - correct_N2[:, 0]
    edges_Q = np.quantile(value_N, np.arange(1, NUM_BINS) / NUM_BINS) if len(value_N) else value_N
    return {
        "kind": "value",
        "num_samples": len(value_N),
        "auc": area_under_roc(value_N, benefit_N > 0),
        "ece": expected_calibration_error(odds_N, benefit_N[differ_N] > 0),
        "bins": _bins(value_N, benefit_N, np.unique(edges_Q)),
    }


def action_probabilities(policy: PolicySettings, scores_NA: Floats, costs_NA: Floats) -> Floats:
    """What the trained policy would draw its actions from, (N, A); all on the cheapest at inf."""
    if np.isinf(policy.lambda_cost):
        return (costs_NA == costs_NA.min(axis=1, keepdims=True)).astype(np.float64)
    values_NA = (scores_NA - policy.lambda_cost * costs_NA) / policy.entropy_weight
    weights_NA = np.exp(values_NA - values_NA.max(axis=1, keepdims=True))
    return weights_NA / weights_NA.sum(axis=1, keepdims=True)


def area_under_roc(predicted_N: Floats, positive_N: Bools) -> float | None:
    """Chance that a positive is predicted higher than a negative, ties counting half.

    Missing where all are alike. 0.5 is what guessing reaches.
    """
    num_positive = int(positive_N.sum())
    num_pairs = num_positive * (len(positive_N) - num_positive)
    if num_pairs == 0:
        return None
    ranks_N = pd.Series(predicted_N).rank().to_numpy()
    least = num_positive * (num_positive + 1) / 2
    return float((ranks_N[positive_N].sum() - least) / num_pairs)


def expected_calibration_error(probability_N: Floats, happened_N: Bools) -> float | None:
    """Distance of mean probability and share that happened in ten bins, averaged over samples.

    Bins are equally wide (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2).
    Missing where there are no samples.
    """
    if not len(probability_N):
        return None
    bins = _bins(probability_N, happened_N.astype(float), PROBABILITY_EDGES_Q)
    gaps = [abs(item["predicted"] - item["measured"]) * item["count"] for item in bins]
    return sum(gaps) / len(probability_N)


def _bins(predicted_N: Floats, measured_N: Floats, edges_Q: Floats) -> list[Row]:
    """The means of prediction and outcome between the edges."""
    index_N = np.searchsorted(edges_Q, predicted_N, side="right")
    parts = [index_N == index for index in np.unique(index_N)]
    return [
        {
            "predicted": float(predicted_N[part_N].mean()),
            "measured": float(measured_N[part_N].mean()),
            "count": int(part_N.sum()),
        }
        for part_N in parts
    ]

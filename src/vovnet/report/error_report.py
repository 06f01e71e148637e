"""Where VoVNet errs: tables of its actions, worst slices, predictions and fallbacks.

All at `report.target_lambda`. Means and standard deviations (ddof 1) are over seeds, ends of
intervals are averaged over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vovnet.config import Settings
from vovnet.config.experiments import fallback_experiments
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.evaluation.columns import read_results
from vovnet.evaluation.error_slices import KEYS, worst
from vovnet.pipeline.manifest import write_manifest
from vovnet.report.figures.head_quality import reliability_figure
from vovnet.report.figures.style import paper_style, save
from vovnet.report.inputs import named, of, over_seeds
from vovnet.report.render import (
    Table,
    intervals,
    numbers,
    texts,
    with_deviation,
    write_table_files,
)
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

RATES = tuple(f"action_rate_{action}" for action in ACTIONS)
SLICE = ("num_questions", "num_rows", "accuracy_lo", "accuracy_hi", "gap", "avg_entropy")
SKIPS = ("num_skips", "false_skip_rate", "false_skip_lo", "false_skip_hi")
KINDS = {
    "action": "Probability of the likeliest action",
    "value": "Value of FULL over NO",
}
WORST_PER_FIELD = 3


def write_reliability(settings: Settings, layout: Layout) -> list[Path]:
    """Write the tables, the figure and, last, `reliability.manifest.json`."""
    names = [name for name, item in settings.experiments.items() if item.error_slices]
    if not names:
        raise ConfigError("experiments: none has error_slices: true, nothing to report")
    slices = pd.concat([_read_slices(layout, name) for name in names], ignore_index=True)
    slices = _at_target(settings, slices)
    predictions = _at_target(settings, _read_predictions(layout, names))
    fallbacks = fallback_experiments(settings)
    results = {name: layout.eval(name) / "results.csv" for name in fallbacks}
    tables = [
        action_errors(settings, slices),
        error_slices(settings, slices),
        prediction_quality(settings, predictions),
        fallback(settings, [read_results(path) for path in results.values()]),
    ]
    written = [path for table in tables for path in write_table_files(table, layout.paper)]
    with paper_style():
        shown = of(predictions, experiment=names[0])
        written += save(reliability_figure(shown, KINDS), layout.paper, "reliability")
    read = [layout.eval(name) / f"error_slices{end}" for name in names for end in (".csv", ".json")]
    write_manifest(
        layout.paper / "reliability.manifest.json",
        step="reliability",
        settings=settings,
        inputs=named(layout, [*read, *results.values()]),
        outputs=named(layout, written),
    )
    return written


def action_errors(settings: Settings, slices: pd.DataFrame) -> Table:
    """Per dataset and action: how often, how good, how unsure, how dear, and wrongly blind."""
    rows = of(slices, field="action")
    by = ["dataset", "experiment", "value"]
    rows = over_seeds(rows, by, ("accuracy", "avg_cost"), (*SLICE, *SKIPS))
    rows = _by_dataset(settings, rows)
    text = _head(settings, rows) | {
        "Action": rows["value"].str.upper(),
        "Answers": numbers(rows["num_rows"], digits=0),
        "Accuracy ↑ [%]": with_deviation(100 * rows["accuracy_mean"], 100 * rows["accuracy_sd"]),
        "95% interval": intervals(100 * rows["accuracy_lo"], 100 * rows["accuracy_hi"]),
        "Entropy [nats]": numbers(rows["avg_entropy"], digits=2),
        "Cost ↓": numbers(rows["avg_cost_mean"]),
        "False skips ↓ [%]": _rate(rows, "false_skip"),
    }
    caption = (
        f"Errors by action at λ = {settings.report.target_lambda:g}, per dataset. Answers: mean "
        "number over seeds. False skips: share of the NO answers that FULL would have improved, "
        "with Wilson's 95% interval, as for accuracy (ends averaged over seeds)."
    )
    return Table("action_errors", caption, rows, pd.DataFrame(text))


def error_slices(settings: Settings, slices: pd.DataFrame) -> Table:
    """The worst slices of each field of the dataset, by the upper end of their interval."""
    by = ["dataset", "experiment", "point", "lambda_cost", "field", "value"]
    rows = over_seeds(slices, by, ("accuracy",), (*SLICE, *RATES, *SKIPS))
    rows = worst(rows, WORST_PER_FIELD, keys=("dataset", "experiment", "point"))
    rows = _by_dataset(settings, rows)
    text = _head(settings, rows) | {
        "Field": rows["field"],
        "Value": rows["value"],
        "Questions": numbers(rows["num_questions"], digits=0),
        "Accuracy ↑ [%]": with_deviation(100 * rows["accuracy_mean"], 100 * rows["accuracy_sd"]),
        "95% interval": intervals(100 * rows["accuracy_lo"], 100 * rows["accuracy_hi"]),
        "To all [points]": numbers(100 * rows["gap"]),
        "False skips ↓ [%]": _rate(rows, "false_skip"),
    }
    caption = (
        f"The {WORST_PER_FIELD} worst slices of each field at λ = "
        f"{settings.report.target_lambda:g}: lowest upper end of Wilson's 95% interval, so that "
        "small slices do not come first by chance. Fields with one value are left out."
    )
    return Table("error_slices", caption, rows, pd.DataFrame(text), long=True)


def prediction_quality(settings: Settings, predictions: pd.DataFrame) -> Table:
    """How well both readings of the head tell apart what they are about."""
    by = ["dataset", "experiment", "kind"]
    rows = over_seeds(predictions, by, ("auc", "ece"), ("num_samples",))
    rows = _by_dataset(settings, rows)
    text = _head(settings, rows) | {
        "Prediction": rows["kind"].map(KINDS),
        "Answers": numbers(rows["num_samples"], digits=0),
        "AUC ↑": with_deviation(rows["auc_mean"], rows["auc_sd"], digits=3),
        "ECE ↓": with_deviation(rows["ece_mean"], rows["ece_sd"], digits=3),
    }
    caption = (
        f"What the policy head tells at λ = {settings.report.target_lambda:g}: area under the ROC "
        "curve, the chance that of two questions the right one is predicted higher (0.5 is "
        "guessing). The probability of the likeliest action is to tell where that action is the "
        "cheapest of those that answer best; the value of FULL over NO, where FULL answers better. "
        "ECE: expected calibration error of that probability, and of sigmoid(value) where just one "
        "of the two is better. Neither is made to be the probability of that: a head that knows "
        "everything does not reach 0."
    )
    return Table("calibration_error", caption, rows, pd.DataFrame(text))


def fallback(settings: Settings, results: Sequence[pd.DataFrame]) -> Table:
    """How often a fallback overrules a NO, the actions before and after it, and what it costs."""
    columns = ["dataset", "experiment", "lambda_cost", "seed", "fallback_trigger_rate", *RATES]
    columns += ["accuracy", "accuracy_lo", "accuracy_hi", "avg_cost"]
    frame = pd.concat([pd.DataFrame(columns=columns), *results])[columns] if results else None
    frame = pd.DataFrame(columns=columns) if frame is None else _at_target(settings, frame)
    modes = frame["experiment"].map(lambda name: settings.experiments[name].policy["fallback_mode"])
    triggered = frame["fallback_trigger_rate"]
    before = {"no": frame["action_rate_no"] + triggered}
    for action in ACTIONS[1:]:
        before[action] = frame[f"action_rate_{action}"] - triggered.where(modes == action, 0)
    frame = frame.assign(**{f"before_{action}": share for action, share in before.items()})
    measures = ("fallback_trigger_rate", "accuracy", "avg_cost")
    averages = (*RATES, *(f"before_{action}" for action in ACTIONS), "accuracy_lo", "accuracy_hi")
    rows = over_seeds(frame, ["dataset", "experiment"], measures, averages)
    rows = _by_dataset(settings, rows)
    text = _head(settings, rows) | {
        "Triggered [%]": with_deviation(
            100 * rows["fallback_trigger_rate_mean"], 100 * rows["fallback_trigger_rate_sd"]
        ),
        "N / C / F before [%]": _shares(rows, [f"before_{action}" for action in ACTIONS]),
        "N / C / F after [%]": _shares(rows, RATES),
        "Accuracy ↑ [%]": with_deviation(100 * rows["accuracy_mean"], 100 * rows["accuracy_sd"]),
        "95% interval": intervals(100 * rows["accuracy_lo"], 100 * rows["accuracy_hi"]),
        "Cost ↓": numbers(rows["avg_cost_mean"]),
    }
    caption = (
        f"Fallbacks at λ = {settings.report.target_lambda:g}: a NO is overruled where the text "
        "pass is unsure, and the view that is executed is paid for."
    )
    return Table("fallback", caption, rows, pd.DataFrame(text))


def _by_dataset(settings: Settings, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each set together, sets as in the configuration."""
    ranks = {name: rank for rank, name in enumerate(settings.data.eval_sets)}
    order = rows["dataset"].map(ranks).sort_values(kind="stable").index
    return rows.loc[order].reset_index(drop=True)


def _head(settings: Settings, rows: pd.DataFrame) -> dict[str, pd.Series]:
    titles = rows["experiment"].map(lambda name: settings.experiments[name].title)
    return {"Dataset": rows["dataset"], "Method": titles.astype(str)}


def _rate(rows: pd.DataFrame, name: str) -> pd.Series:
    ends = intervals(100 * rows[f"{name}_lo"], 100 * rows[f"{name}_hi"], empty="")
    return (numbers(100 * rows[f"{name}_rate"]) + " " + ends).str.strip()


def _shares(rows: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    parts = [numbers(100 * rows[name], digits=0) for name in columns]
    return texts(rows.index, (" / ".join(row) for row in zip(*parts, strict=True)))


def _at_target(settings: Settings, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows at `report.target_lambda`, and those of policies that read no lambda."""
    target = settings.report.target_lambda
    there = np.isclose(frame["lambda_cost"].astype(float), target) | frame["lambda_cost"].isna()
    for name, rows in frame.groupby("experiment"):
        if not there[rows.index].any():
            raise ConfigError(
                f"report.target_lambda: {target:g} is not a point of experiment {name!r}"
            )
    return frame[there].reset_index(drop=True)


def _read_slices(layout: Layout, name: str) -> pd.DataFrame:
    path = layout.eval(name) / "error_slices.csv"
    try:
        frame = pd.read_csv(path, dtype={"value": str}, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise DataError(
            f"{path}: file not found, `vovnet error_slices --experiment {name}` writes it"
        ) from None
    return frame.assign(experiment=name)


def _read_predictions(layout: Layout, names: Sequence[str]) -> pd.DataFrame:
    """A row per experiment, dataset, seed, point and kind; `bins` are lists."""
    rows: list[dict[str, Any]] = []
    for name in names:
        path = layout.eval(name) / "error_slices.json"
        rows += [item | {"experiment": name} for item in read_json(path)["reliability"]]
    columns = ["experiment", *KEYS, "kind", "num_samples", "auc", "ece", "bins"]
    return pd.DataFrame(rows, columns=columns).astype(
        {"lambda_cost": float, "auc": float, "ece": float}
    )

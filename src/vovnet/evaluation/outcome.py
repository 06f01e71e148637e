"""From decided samples to the files of an experiment: rows, intervals, tables.

Replayed and live experiments share it. Shapes: N rows, U units (questions: a sample, or a
circular group of which every pass must be right), B resamples, P outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vovnet.config import Experiment
from vovnet.config.experiments import ResolvedExperiment
from vovnet.core.files import write_json
from vovnet.core.layout import Layout
from vovnet.core.records import write_table
from vovnet.core.stats import Bools, Floats, Ints, percentile_interval, resampled_means, unit_minima
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS, result_columns, write_results

SHORT_NAMES = {
    "lambda_cost": "lambda",
    "baseline_pruning_ratio": "pruning",
    "baseline_merge_ratio": "merge",
    "baseline_long_side": "resolution",
    "baseline_max_pixels": "resolution",
    "baseline_pool_factor": "granularity",
}


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


def sample_rows(outcome: Outcome, dataset: str, seed: int, point: int) -> pd.DataFrame:
    """The outcome as rows of samples.parquet."""
    fallback_N = np.zeros(len(outcome.ids), bool) if outcome.fallback is None else outcome.fallback
    return pd.DataFrame(
        {
            "dataset": dataset,
            "seed": seed,
            "point": point,
            "id": outcome.ids,
            "action": outcome.actions,
            "view": outcome.views,
            "executed": outcome.executed,
            "prediction": outcome.texts,
            "score": outcome.scores,
            "parse_fallback": outcome.parse_fallback,
            "cost": outcome.costs,
            "vision_tokens": outcome.vision_tokens,
            "flops": outcome.flops,
            "fallback_triggered": fallback_N,
        }
    )


def measured_columns(outcomes: Sequence[Outcome], counts_BU: Floats) -> list[dict[str, Any]]:
    """What results.csv says about each outcome of one set.

    Accuracy, its interval and `num_samples` are over questions; costs and rates over rows.
    The outcomes share the resamples, so that their intervals are paired.
    """
    scores_UP = np.stack([outcome.unit_scores for outcome in outcomes], axis=1)
    low_P, high_P = percentile_interval(resampled_means(counts_BU, scores_UP))
    accuracy_P = scores_UP.mean(axis=0)
    return [
        {
            "num_samples": len(scores_UP),
            "accuracy": float(accuracy),
            "accuracy_lo": float(low),
            "accuracy_hi": float(high),
            **_row_means(outcome),
        }
        for outcome, accuracy, low, high in zip(outcomes, accuracy_P, low_P, high_P, strict=True)
    ]


def _row_means(outcome: Outcome) -> dict[str, Any]:
    means: dict[str, Any] = {
        "avg_cost": float(outcome.costs.mean()),
        "avg_vision_tokens": float(outcome.vision_tokens.mean()),
        "avg_flops": float(outcome.flops.mean()),
        "parse_fallback_rate": float(outcome.parse_fallback.mean()),
    }
    if outcome.fallback is not None:
        means["fallback_trigger_rate"] = float(outcome.fallback.mean())
    shares = outcome.action_shares
    if shares is not None:
        means |= {f"action_rate_{name}": share for name, share in shares.items()}
        means["action_ratio"] = "[" + ", ".join(f"{share:.6f}" for share in shares.values()) + "]"
    return means


def category_slices(categories: Sequence[str], outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Per category its number of questions, accuracy and action shares.

    `categories` names that of each row; rows without one are left out. A circular group counts
    in the category of its first pass.
    """
    categories_N = np.array(categories, dtype=object)
    _, first_U = np.unique(outcome.units, return_index=True)
    categories_U, scores_U = categories_N[first_U], outcome.unit_scores
    return {
        name: {
            "num_samples": int((categories_U == name).sum()),
            "accuracy": float(scores_U[categories_U == name].mean()),
            "action_shares": action_shares(
                outcome.actions[categories_N == name], outcome.action_names
            ),
        }
        for name in sorted(set(categories_U) - {""})
    }


def action_shares(actions_N: Ints, names: Sequence[str]) -> dict[str, float] | None:
    """Share of each action by its name; None where a view is no action."""
    if (actions_N < 0).any():
        return None
    return {name: float((actions_N == action).mean()) for action, name in enumerate(names)}


def sweep_name(experiment: Experiment) -> str | None:
    """Short name of the swept key, as in pareto_<name>.csv: `lambda`, `threshold`, `merge`."""
    for key in experiment.sweep:
        return SHORT_NAMES.get(key, key.rpartition(".")[2].removeprefix("baseline_"))
    return None


def write_experiment(
    experiment: ResolvedExperiment,
    layout: Layout,
    rows: list[dict[str, Any]],
    samples: Sequence[pd.DataFrame],
    summary: dict[str, Any],
) -> None:
    """Write the files of an experiment, results.csv last: its existence means completion."""
    folder, actions = layout.eval(experiment.name), experiment.settings.actions
    table = pd.concat(samples, ignore_index=True)
    write_table(folder / "samples.parquet", table, SAMPLE_RESULT_COLUMNS)
    write_json(folder / "summary.json", plain(summary))
    name = sweep_name(experiment.stanza)
    stems = [] if name is None else [f"pareto_{name}"]
    if name == "lambda":
        stems.append("eval_matrix")
    for stem in stems:
        _write_rows(folder / stem, rows, actions)
    write_results(folder / "results.csv", rows, actions)


def _write_rows(stem: Path, rows: list[dict[str, Any]], actions: Sequence[str]) -> None:
    """The rows of results.csv once more, as <stem>.csv and <stem>.json."""
    write_results(stem.with_name(stem.name + ".csv"), rows, actions)
    values = [{key: row.get(key) for key in result_columns(actions, rows)} for row in rows]
    write_json(stem.with_name(stem.name + ".json"), plain(values))


def plain(value: Any) -> Any:
    """The value for JSON, which has no infinity ("inf") and no missing number (null)."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value

"""Where VoVNet errs: tables of its actions, worst slices, predictions and fallbacks, and a figure.

All at `report.target_lambda`, and at each point of a sweep of something else: a row is one point.
A table and a figure more tell how far what heads expect of actions, which is the same at every
lambda, can be trusted. Means and standard deviations (ddof 1) are over seeds, ends of intervals are
averaged over seeds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vovnet.config import Settings
from vovnet.config.experiments import fallback_experiments
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.core.recorded import check_recorded
from vovnet.evaluation.columns import read_columns, result_columns
from vovnet.evaluation.compared import check_target
from vovnet.evaluation.error_slices import KEYS
from vovnet.policies.experiments import head_experiments
from vovnet.report.discovery import load
from vovnet.report.inputs import are_target, finish, ordered, read_points
from vovnet.report.render import write_table_files
from vovnet.report.style import draw_and_save

KINDS = {"action": "Probability of the likeliest action", "value": "Value of FULL over NO"}
"""What the policy head predicts -> how it is named."""

SLICE = ("num_questions", "num_rows", "accuracy_lo", "accuracy_hi", "gap", "avg_entropy")
SKIPS = ("num_skips", "false_skip_rate", "false_skip_lo", "false_skip_hi")
"""Columns of slices that are averaged over seeds."""

HEAD_KEYS = ("dataset", "seed", "router", "action")
HEAD = ("expected", "measured", "brier", "brier_of_mean", "log_loss", "ece")
"""What is told of a head and an action: by what, and the columns that are averaged over seeds."""


@dataclass(frozen=True)
class Errors:
    """Slices, predictions of the head, and the results of experiments with a fallback.

    `predictions` has a row per experiment, dataset, seed, point and kind, `heads` one per
    experiment, dataset, seed, head and action; their `bins` are lists. `files` are those that all
    of it was read from.
    """

    settings: Settings
    slices: pd.DataFrame
    predictions: pd.DataFrame
    fallbacks: pd.DataFrame
    heads: pd.DataFrame
    files: list[Path]

    @property
    def place(self) -> str:
        """At which points the tables stand, the last sentence of captions."""
        target = self.settings.report.target_lambda
        return (
            f"Methods with a λ stand at {target:g}, in the unit of their own; each point of any "
            "other sweep has a row."
        )

    def by_dataset(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of each set together, sets as in the configuration."""
        return ordered(self.settings, rows, ["dataset"])


def write_reliability(settings: Settings, layout: Layout) -> list[Path]:
    """Write the tables, the figure and, last, `reliability.manifest.json`."""
    errors = load_errors(settings, layout)
    written: list[Path] = []
    for name, module in load("vovnet.report.reliability").items():
        if hasattr(module, "table"):
            written += write_table_files(name, module.table(errors), layout.paper)
        else:
            written += draw_and_save(module.figure, errors, layout.paper, name)
    manifest = layout.paper / "reliability.manifest.json"
    return finish(manifest, "reliability", settings, layout, errors.files, written)


def load_errors(settings: Settings, layout: Layout) -> Errors:
    """Read the slices of every experiment that is cut into some, fallbacks' results, and heads."""
    names = [name for name, item in settings.experiments.items() if item.error_slices]
    if not names:
        raise ConfigError("experiments: none has error_slices: true, nothing to report")
    falling_back = fallback_experiments(settings)
    check_target(settings, [*names, *falling_back])
    results = [layout.eval(name) / "results.csv" for name in falling_back]
    fallbacks = [read_points(path) for path in results]
    nothing = pd.DataFrame(columns=[*result_columns(settings.actions), "point"])
    folders = map(layout.eval, names)
    sliced = [folder / f"error_slices{end}" for folder in folders for end in (".csv", ".json")]
    summaries = {name: layout.eval(name) / "summary.json" for name in head_experiments(settings)}
    return Errors(
        settings,
        _at_target(settings, pd.concat([_slices(layout, name) for name in names])),
        _at_target(settings, _predictions(layout, names)),
        _at_target(settings, pd.concat(fallbacks) if fallbacks else nothing),
        _heads(summaries),
        [*sliced, *results, *summaries.values()],
    )


def _at_target(settings: Settings, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows at `report.target_lambda`, and those of policies that read no lambda."""
    there = are_target(settings, frame) | frame["lambda_cost"].isna()
    return frame[there].reset_index(drop=True)


def _slices(layout: Layout, name: str) -> pd.DataFrame:
    path = layout.eval(name) / "error_slices.csv"
    if not path.exists():
        raise DataError(
            f"{path}: file not found, `vovnet error_slices --experiment {name}` writes it"
        )
    check_recorded(path, path.with_suffix(".json"))
    return read_columns(path, (*KEYS, "field", "value")).assign(experiment=name)


def _heads(summaries: Mapping[str, Path]) -> pd.DataFrame:
    """What heads expected of each action, as `vovnet evaluate` told it."""
    rows = [
        item | {"experiment": name}
        for name, path in summaries.items()
        for item in read_json(path)["calibration"]
    ]
    return pd.DataFrame(rows, columns=["experiment", *HEAD_KEYS, "num_samples", *HEAD, "bins"])


def _predictions(layout: Layout, names: Iterable[str]) -> pd.DataFrame:
    rows = [
        item | {"experiment": name}
        for name in names
        for item in read_json(layout.eval(name) / "error_slices.json")["reliability"]
    ]
    columns = ["experiment", *KEYS, "kind", "num_samples", "auc", "ece", "bins"]
    floats = dict.fromkeys(["lambda_cost", "auc", "ece"], float)
    return pd.DataFrame(rows, columns=columns).astype(floats)

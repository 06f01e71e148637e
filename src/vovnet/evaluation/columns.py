"""The one catalogue of results columns: their order in results.csv, and how tables write them.

A column is added by one entry here. results.csv then holds it, its readers expect it, and the
report knows its heading, unit, scale, digits and direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import pyarrow as pa

from vovnet.core.errors import DataError, one_line
from vovnet.core.files import open_text, write_text
from vovnet.core.layout import Layout
from vovnet.core.recorded import check_recorded
from vovnet.core.records import read_table
from vovnet.core.shown import csv_text, from_csv_text
from vovnet.evaluation.live_columns import LIVE_COLUMNS

if TYPE_CHECKING:
    from vovnet.evaluation.questions import Questions

Row = dict[str, Any]

_AS_LIVE = ("dataset", "seed", "point", "id", "action", "view", "executed")
SAMPLE_RESULT_COLUMNS: dict[str, pa.DataType] = {
    **{name: LIVE_COLUMNS[name] for name in _AS_LIVE},
    "prediction": pa.string(),
    "score": pa.float64(),  # correctness in [0, 1]
    "parse_fallback": pa.bool_(),
    "cost": pa.float64(),
    **{name: LIVE_COLUMNS[name] for name in ("vision_tokens", "flops", "fallback_triggered")},
}
"""Columns of samples.parquet: name -> type."""

RATE = "action_rate_"
"""What the columns with the share of each action start with."""


@dataclass(frozen=True)
class Column:
    """A column of results: what it means, and how tables name and write it.

    Tables write `scale` times its value, in `unit`, with `digits`. `better` tells which values are
    good. A `setting` is what a sweep may vary, and its heading the symbol in the label of a point.
    """

    name: str
    heading: str = ""
    unit: str = ""
    scale: float = 1.0
    digits: int = 1
    better: Literal["higher", "lower", ""] = ""
    kind: Literal["key", "setting", "measure"] = "measure"
    meaning: str = ""

    @property
    def title(self) -> str:
        """The heading as tables write it, such as "Accuracy ↑ [%]"."""
        arrow = {"higher": "↑", "lower": "↓", "": ""}[self.better]
        return " ".join(filter(None, [self.heading, arrow, self.unit and f"[{self.unit}]"]))


def _key(name: str, meaning: str) -> Column:
    return Column(name, kind="key", meaning=meaning)


def _setting(name: str, symbol: str, meaning: str) -> Column:
    return Column(name, symbol, kind="setting", meaning=meaning)


def _percent(name: str, heading: str, meaning: str, **more: Any) -> Column:
    return Column(name, heading, "%", scale=100, meaning=meaning, **more)


def _lower(name: str, heading: str, unit: str, meaning: str, digits: int = 1) -> Column:
    return Column(name, heading, unit, digits=digits, better="lower", meaning=meaning)


RESULTS: tuple[Column, ...] = (
    _key("experiment", "name in `experiments`"),
    _key("dataset", "name in `data.eval_sets`"),
    _key("run", "name in `runs`"),
    _key("seed", "seed of training"),
    _key("baseline_name", "the policy; empty for the learned one"),
    _setting(
        "lambda_cost",
        "λ",
        "price in nats of what `policy.lambda_unit` says: a unit of cost, or all that FULL costs on"
        " average",
    ),
    _setting(
        "threshold",
        "t",
        "of entropy (nats), margin or log-probability (nats), beyond which a policy looks (again)",
    ),
    _setting("pruning_ratio", "keep", "share of the vision tokens that pruning keeps"),
    _setting("fastv_ratio", "keep", "share of the vision tokens that goes on behind a layer"),
    _setting("merge_ratio", "keep", "share of the vision tokens that merging leaves"),
    _setting("pool_factor", "factor", "side of the squares of vision tokens that pooling joins"),
    _setting("long_side", "side", "pixels of the longer side, where a view has a limit of its own"),
    _setting("max_pixels", "pixels", "pixels of the image, where a view has a limit of its own"),
    Column("num_samples", "Questions", digits=0, meaning="questions; circular passes count once"),
    _percent("accuracy", "Accuracy", "share of questions answered right", better="higher"),
    _percent("accuracy_lo", "Accuracy, lower end", "lower end of its bootstrap 95% interval"),
    _percent("accuracy_hi", "Accuracy, upper end", "upper end of its bootstrap 95% interval"),
    _lower("avg_cost", "Cost", "", "`policy.cost_scale` times the vision tokens"),
    _lower(
        "avg_vision_tokens",
        "Vision tokens",
        "",
        "vision tokens of all views executed, a mean over layers where these see different ones",
    ),
    Column(
        *("avg_flops", "FLOPs", "G", 1e-9, 2, "lower"),
        meaning="operations of the text pass, where it is read, and of all views executed",
    ),
    # Here follow the shares of the actions, `action_rate_<action>`.
    Column("action_ratio", meaning="the shares of the actions as a list, such as [0.5, 0.2, 0.3]"),
    _percent("fallback_trigger_rate", "Triggered", "how often a fallback overrules a NO"),
    _percent("parse_fallback_rate", "Parsed by fallback", "share of the texts that give no answer"),
    _key("scoring", "how answers were read: `parse` of the evaluation set"),
    _lower("latency_ms", "Latency", "ms", "mean time per question of a live experiment"),
    _lower("latency_p50_ms", "Latency P50", "ms", "its median"),
    _lower("latency_p90_ms", "Latency P90", "ms", "its 90th percentile"),
    _lower("mem_peak_p50_mb", "Memory P50", "MB", "median peak memory of the GPU", digits=0),
    _lower("mem_peak_p90_mb", "Memory P90", "MB", "its 90th percentile", digits=0),
)
"""Columns of results.csv, in order. A value that was not measured is empty, never 0."""

SETTINGS = tuple(column.name for column in RESULTS if column.kind == "setting")
"""The columns that tell the points of a sweep apart."""

Unit = Literal["tokens", "flops", "ms"]
"""What costs are counted in: `policy.cost_scale` times vision tokens, or counted FLOPs of the
text pass, where it is read, of the tower and of the language model, or measured milliseconds."""

TOKENS: Unit = "tokens"
FLOPS: Unit = "flops"
MS: Unit = "ms"

GAIN_SHARES = {"gain_at_25": 0.25, "gain_at_50": 0.5, "gain_at_75": 0.75}
"""Gains over the mixing hull -> the shares of FULL's cost at which they are taken."""

NON_INFERIORITY_MARGIN = 1.0
"""By less than this gain, in points, the default may fall behind a recipe and be no worse."""

GAINS = tuple(
    Column(name, f"Gain at {share:.0%}", "points", better="higher")
    for name, share in GAIN_SHARES.items()
)
HULL_SCORES: tuple[Column, ...] = (
    Column("hull_to_oracle_captured", "Captured to oracle", "%", scale=100, better="higher"),
    Column("hull_to_bayes_captured", "Captured to Bayes", "%", scale=100, better="higher"),
    Column("apgr", "APGR", digits=2, better="higher"),
    Column("aiq", "AIQ", digits=3, better="higher"),
    Column("mcc", "MCC", digits=2, better="higher"),
)
VOCABULARY: tuple[Column, ...] = (
    _percent("cost_save", "CostSave", "", better="higher"),
    _percent("perf_gain", "PerfGain", "", better="higher"),
    _percent("gain_at_random", "Gain@R", "", better="higher"),
    _percent("gap_at_oracle", "Gap@O", "", better="lower"),
    Column("rank_score", "Rank score", digits=3, better="higher"),
)
"""Measures of the routing literature in hull_metrics.csv, see `vovnet.core.vocabulary`."""

SLICES: tuple[Column, ...] = (
    Column("num_questions", "Questions", digits=0),
    Column("num_rows", "Answers", digits=0),
    Column("gap", "To all", "points", scale=100),
    Column("avg_entropy", "Entropy", "nats", digits=2),
    Column("num_skips", "Skips", digits=0),
    Column("false_skip_rate", "False skips", "%", scale=100, better="lower"),
    Column("auc", "AUC", digits=3, better="higher"),
    Column("ece", "ECE", digits=3, better="lower"),
)
"""What error_slices.csv and .json add to the columns of results.csv."""

GAIN = Column("gain", "Gain", "points", better="higher")
"""The gain in equal_cost.csv."""

CAPTURED = Column("captured", "Captured", "%", scale=100, better="higher")
"""The captured share in captured.csv."""

DEPLOYABLE: tuple[Column, ...] = (
    _percent("tokens_saved", "Tokens saved", "", better="higher"),
    _percent("flops_saved", "FLOPs saved", "", better="higher"),
    _percent("ms_saved", "Time saved", "", better="higher"),
    _percent("looks_saved", "Looks saved", "", better="higher"),
    Column("difference", "Difference", "points", scale=100, better="higher"),
    _percent("broken", "Broken", "", better="lower"),
)
"""The measures of deployable.csv."""

_FURTHER = (*GAINS, *HULL_SCORES, GAIN, CAPTURED, *DEPLOYABLE, *VOCABULARY, *SLICES)
CATALOGUE = {column.name: column for column in (*RESULTS, *_FURTHER)}

_OF_EXPERIMENT = ("dataset", "experiment", "role", "title", "run")
HULL_COLUMNS = (
    *_OF_EXPERIMENT,
    *("seed", "unit"),
    *(name + end for name in GAIN_SHARES for end in ("", "_lo", "_hi")),
    *(column.name for column in HULL_SCORES),
    "mcc_point",
    *(column.name for column in VOCABULARY),
)
_ACCURACY = ("accuracy", "accuracy_lo", "accuracy_hi")
CURVE_COLUMNS = (*_OF_EXPERIMENT, "seed", "unit", "point", "scalar", "avg_cost", *_ACCURACY)
EQUAL_COST_COLUMNS = (
    *(*_OF_EXPERIMENT, "unit", "at", "point", "avg_cost"),
    *("reference", "reference_experiment", "reference_run"),
    "within_range",  # whether the cost lies between those of the smallest and the largest size
    *("num_seeds", "gain", "gain_sd", "gain_lo", "gain_hi", "p_value"),
    *("p_holm", "verdict"),  # corrected for the number of comparisons with the reference
)

_CAPTURED = ("captured", "captured_sd", "captured_lo", "captured_hi")
CAPTURED_COLUMNS = (*_OF_EXPERIMENT, "unit", "reference", "num_seeds", *_CAPTURED, "undefined")
_GAINED = ("gain", "gain_sd", "gain_lo", "gain_hi")
_AT = ("avg_cost", "accuracy", "accuracy_sd", "accuracy_lo", "accuracy_hi")
_OF_REFERENCES = ("dataset", "run", "unit", "reference", "title", "at", "num_seeds")
REFERENCE_COLUMNS = (*_OF_REFERENCES, *_AT, *_GAINED)
_IN_STRATUM = ("num_questions", "share", "accuracy", "avg_cost", "avg_flops", "look_rate")
STRATA_COLUMNS = (*_OF_EXPERIMENT, "seed", "point", "stratum", *_IN_STRATUM)
KIND_COLUMNS = ("dataset", "seed", "question", "stratum")
DEPLOYABLE_COLUMNS = (
    *(*_OF_EXPERIMENT, "mode", "rule", "num_questions", "num_seeds"),
    *("tokens_saved", "tokens_saved_lo", "tokens_saved_hi", "flops_saved", "ms_saved"),
    *("looks_saved", "difference", "broken"),
    "scalar",  # the median of what was chosen
)
ALL_SETS = "(all sets)"
"""The name under which references.csv tells of all evaluation sets together."""

HULL_FILES = {
    "hull_metrics.csv": HULL_COLUMNS,
    "curves.csv": CURVE_COLUMNS,
    "equal_cost.csv": EQUAL_COST_COLUMNS,
    "captured.csv": CAPTURED_COLUMNS,
    "references.csv": REFERENCE_COLUMNS,
    "strata.csv": STRATA_COLUMNS,
    "deployable.csv": DEPLOYABLE_COLUMNS,
    "kinds.csv": KIND_COLUMNS,
}
"""The files of the comparison with the mixing hull -> their columns."""

_OF_RESULTS = ("experiment", "dataset", "run", "baseline_name", "action_ratio", "scoring")
_OF_HULL = ("role", "title", "unit", "at", "verdict", "question", "stratum", "rule", "mode")
_OF_REFERENCE = ("reference", "reference_experiment", "reference_run")
TEXTS = frozenset({*_OF_RESULTS, *_OF_HULL, *_OF_REFERENCE, "field", "value"})
"""The columns of our CSV files that hold text, such as the name of a set, which may be `007`."""

_TRUTHS = {"within_range"}

_TYPES = dict.fromkeys(TEXTS, "str") | dict.fromkeys(("baseline_name", "action_ratio"), "string")

TEXT_REFERENCE = "Choice by the text, fitted on the set itself"
"""What tables call the reference that decides by the text alone."""

NO_VIEW = "none"
"""The stratum of questions that no view answers."""

AT_MOST = 0.01
"""How far below FULL's the accuracy of what is deployed may be."""

DIVISIONS = 200
"""Into halves, of which one chooses what is deployed and the other measures it."""

BEATS, LOSES, UNDECIDED = "beats", "loses", "undecided"
"""The verdicts in equal_cost.csv."""

VOVNET = "vovnet"
"""The reference in equal_cost.csv that is the curve of the experiment that stands for VoVNet."""

RESOLUTION = "resolution_scaling_proxy"
"""The policy that scales the resolution, with which every method is compared."""

MIXING_HULL = "mixing_hull"
"""The name under which curves.csv holds what random mixing of the fixed policies reaches."""

BY_TEXT = "by_text"
"""The reference that decides by the text alone, in curves.csv and wherever references are named."""


def column_of(name: str) -> Column:
    """The column of a name; the share of an action is one of any suite."""
    return _percent(name, "", "") if name.startswith(RATE) else CATALOGUE[name]


def rate_columns(actions: Iterable[str]) -> tuple[str, ...]:
    """Names of the columns with the share of each action."""
    return tuple(RATE + action for action in actions)


def result_columns(actions: Iterable[str], rows: Sequence[Row] = ()) -> tuple[str, ...]:
    """Names of the columns of results.csv, in order, for a suite with these actions.

    What `rows` hold beside them are the settings of policies and views that have some of their own;
    they follow the other settings.
    """
    names = [column.name for column in RESULTS]
    place, end = names.index("action_ratio"), names.index(SETTINGS[-1]) + 1
    names[place:place] = rate_columns(actions)
    further = dict.fromkeys(key for row in rows for key in row if key not in names)
    return (*names[:end], *further, *names[end:])


def write_results(path: Path | str, rows: Sequence[Row], actions: Iterable[str]) -> None:
    """Write results.csv, or a table of the same columns."""
    write_csv(path, rows, result_columns(actions, rows))


def write_csv(path: Path | str, rows: Iterable[Row], columns: Iterable[str]) -> pd.DataFrame:
    """Write rows with these columns atomically; returns them as a table."""
    frame = pd.DataFrame(list(rows), columns=list(columns))
    write_text(path, csv_text(frame))
    return frame


def read_results(path: Path | str) -> pd.DataFrame:
    """Read results.csv, of whatever actions, with `baseline_name` as text ("" for VoVNet)."""
    check_recorded(Path(path), Path(path).with_name("summary.json"))
    frame = read_columns(path, result_columns(()))
    return frame.assign(baseline_name=frame["baseline_name"].fillna(""))


def read_columns(path: Path | str, columns: Iterable[str]) -> pd.DataFrame:
    """Read a CSV file of our own that has at least these columns.

    The columns in TEXTS are text, whatever their values look like, those in _TRUTHS are truth
    values, and all others are numbers, also where the table has no row. Only an empty field is a
    missing value.
    """
    try:
        with open_text(path) as file:
            frame = pd.read_csv(file, dtype=_TYPES, keep_default_na=False, na_values=[""])
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: not a readable CSV file ({one_line(error)})") from None
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing")
    untyped = [name for name in frame if name not in TEXTS] if frame.empty else []
    return from_csv_text(frame).astype(
        {name: bool if name in _TRUTHS else float for name in untyped}
    )


class SampleResults:
    """What an experiment did, as its samples.parquet tells it; `only` names columns of these.

    The rows of one set and seed are held at a time.
    """

    def __init__(self, layout: Layout, name: str, only: Sequence[str] = ()) -> None:
        self.path, self.name = layout.eval(name) / "samples.parquet", name
        check_recorded(self.path, self.path.with_name("summary.json"))
        self._only = only and ("point", "id", *only)
        self._place, self._points = ("", -1), dict[Any, pd.DataFrame]()

    def points(self, dataset: str, seed: int) -> dict[Any, pd.DataFrame]:
        """The rows of each sweep point on a set and a seed."""
        if self._place != (dataset, seed):
            where = {"dataset": dataset, "seed": seed}
            table = read_table(self.path, SAMPLE_RESULT_COLUMNS, self._only, where)
            self._points = dict(list(table.groupby("point", sort=False)))
            self._place = (dataset, seed)
        return self._points

    def rows(self, questions: Questions, seed: int, point: int) -> pd.DataFrame:
        """The rows of one set, seed and sweep point, which must be those of the questions."""
        rows = self.points(questions.name, seed).get(point)
        if rows is None or rows["id"].tolist() != questions.sample_ids:
            raise DataError(
                f"{self.path}: the samples of {questions.name}, seed {seed}, point {point} are not"
                f" those of the set, evaluate {self.name!r} again"
            )
        return rows

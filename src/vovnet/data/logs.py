"""Logs of other programs: what they answered to each question of a set.

A layout says which columns of a row hold what, see `LAYOUTS`; a configuration may name others.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.config import COUNT_LIMIT, ImportedSet, LogColumns, LoggedView
from vovnet.core.errors import DataError
from vovnet.data.formats.any_table import chosen_rows
from vovnet.data.formats.source import Row, whole_number

LAYOUTS: dict[str, LogColumns] = {
    "rows": LogColumns(id="id", prediction="prediction"),
    "lmms_eval": LogColumns(id="doc_id", prediction="filtered_resps", question="input"),
    "vlmevalkit": LogColumns(id="index", prediction="prediction", question="question"),
    "llava": LogColumns(id="question_id", prediction="text", question="prompt"),
}
TRUTHS = {"true": 1.0, "false": 0.0}
"""VLMEvalKit writes verdicts of questions that are answered by yes or no so."""

CONFIDENCE = ("entropy", "margin", "log_probability")


@dataclass(frozen=True)
class LogRow:
    """One answer of a log; what it does not tell is None, of `question` "".

    `name` is the id, with `~2`, `~3` and so on where it comes again: POPE's ids do. Where no column
    has ids it is the number of the answer, from 0.
    """

    name: str
    where: str
    question: str
    text: str
    score: float | None
    tokens: int
    flops: int | None
    confidence: Mapping[str, float | None]


def read_log(logged: ImportedSet, view: LoggedView, known: Container[str] = ()) -> Iterator[LogRow]:
    """The answers under one view, in the order of their file; `known` are the ids of the set."""
    columns = columns_of(logged, view)
    named = [name for _, name in columns if name is not None]
    nested = {name.partition(".")[0] for name in named if "." in name}
    required = [name for name in named if "." not in name]
    default = LAYOUTS[logged.layout].question
    required = [name for name in required if name != default]
    optional = {*named, *nested} - {*required}
    times: dict[str, int] = {}
    rows = chosen_rows(Path(view.file), tuple(dict.fromkeys(required)), tuple(optional), view.where)
    for place, row in enumerate(rows):
        name = str(place) if columns.id is None else _name(row, columns.id, known)
        times[name] = count = times.get(name, 0) + 1
        tokens = view.tokens
        if tokens is None:
            tokens = _count(row, columns.tokens, "`tokens` of the view, or a column `tokens`")
        flops = view.flops
        if flops is None and columns.flops is not None:
            flops = _count(row, columns.flops, "operations")
        yield LogRow(
            name if count == 1 else f"{name}~{count}",
            row.at(columns.id or "id"),
            _question(row, columns.question, default),
            "" if columns.prediction is None else _answer(row, columns.prediction),
            None if columns.score is None else _score(row, columns.score),
            tokens,
            flops,
            {key: _number(row, getattr(columns, key)) for key in CONFIDENCE},
        )


def columns_of(logged: ImportedSet, view: LoggedView) -> LogColumns:
    """The columns of the layout, and in their place those that the set and the view name."""
    named = [*logged.columns, *view.columns]
    own = {key: name or None for key, name in named if name is not None}
    return LAYOUTS[logged.layout].model_copy(update=own)


def _value(row: Row, column: str, *, optional: bool = False) -> Any:
    """A value, inside of the objects that a name with points leads through; null in their place."""
    value: Any = row.values
    for key in [column] if column in row.values else column.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping) or key not in value:
            if optional:
                return None
            raise row.error(column, "is missing")
        value = value[key]
    return value


def _question(row: Row, column: str | None, default: str | None) -> str:
    """What was asked; lmms-eval before 0.4 has the whole document in place of its input.

    A column that the configuration names must be there, that of the layout need not.
    """
    if column is None:
        return ""
    for name, optional in ((column, column == default), ("doc.question", True)):
        if isinstance(_value(row, name, optional=optional), str):
            return _text(row, name)
    return ""


def _answer(row: Row, column: str) -> str:
    """What was answered; of a list, which lmms-eval writes, also nested, the first text."""
    value = _value(row, column)
    while isinstance(value, list):
        value = value[0] if value else ""
    return _as_text(row, column, value)


def _text(row: Row, column: str) -> str:
    """What a column holds, as a text."""
    return _as_text(row, column, _value(row, column))


def _as_text(row: Row, column: str, value: Any) -> str:
    """A text, of a number or a truth as well; "" where there is none."""
    if isinstance(value, bool | int | float):
        return "" if value != value else str(value)
    if value is not None and not isinstance(value, str):
        raise row.error(column, f"expected a text or a number, got {type(value).__name__}")
    return row.writable(column, value or "")


def _name(row: Row, column: str, known: Container[str]) -> str:
    """An id as it is written, or else as it may have been meant.

    Tables of pandas hold whole numbers as `7.0` where one was missing.
    """
    written = _text(row, column)
    text = written.strip()
    if not text:
        raise row.error(column, "is missing")
    if written in known:
        return written
    number = whole_number(text)
    return text if number is None or not text.endswith("0") or "." not in text else str(number)


def _number(row: Row, column: str | None) -> float | None:
    text = "" if column is None else _text(row, column)
    if column is None or not text:
        return None
    try:
        number = math.nan if "_" in text else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise row.error(column, f"expected a number, got {text[:80]!r}")
    return number


def _score(row: Row, column: str) -> float:
    """A score in [0, 1]: a number, its text, or the text of a truth; of an object its `score`."""
    value = _value(row, column)
    if isinstance(value, Mapping):
        return _score(row, f"{column}.score")
    if isinstance(value, bool):
        return float(value)
    text = _text(row, column).strip()
    found = TRUTHS.get(text.lower())
    number = found if found is not None else _number(row, column)
    if number is None or not 0 <= number <= 1:
        raise row.error(column, f"expected a score from 0 to 1, got {text[:80]!r}")
    return number


def _count(row: Row, column: str | None, what: str) -> int:
    number = _number(row, column)
    if number is None or not 0 <= number < COUNT_LIMIT or number != int(number):
        what = f"below {COUNT_LIMIT:.0e} ({what})"
        raise DataError(f"{row.at(column or 'tokens')}: expected a whole number {what}")
    return int(number)

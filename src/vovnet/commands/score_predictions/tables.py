"""VLMEvalKit's tables with the values that its evaluation sees: it reads them with pandas.

A column of nothing but numbers is one of numbers, whose texts are `2` for `02`, `1000.0` for `1e3`
and, where the column has gaps, `-5.0` for `-5`. A field such as `None` or `NA` is a missing one.
"""

import csv
import string
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from vovnet.data.formats.source import Row
from vovnet.data.formats.vlmevalkit import is_table, pandas_table, table_field

COLUMNS = ("index", "g_index", "question_type", *string.ascii_uppercase)
COLUMNS += ("answer", "prediction", "category")
"""What is read of a table of predictions or gold answers."""


def is_table_row(values: Mapping[str, Any]) -> bool:
    """Whether a row is one of VLMEvalKit's, with a prediction or a gold answer."""
    has_one = "prediction" in values or values.keys() >= {"A", "answer"}
    return "index" in values and has_one and "hit" not in values


def as_pandas_reads(path: Path, rows: list[Row]) -> list[Row]:
    """The rows of one of VLMEvalKit's tables; every value is a text, "" where it is missing.

    `rows` are the same as they are written, whose form is checked: pandas mends some faults in
    silence.
    """
    return _of_table(path) if is_table(path) else _of_json(path, rows)


def _of_table(path: Path) -> list[Row]:
    frame = pandas_table(path)
    frame.columns = frame.columns.map(str)
    frame = frame.loc[:, ~frame.columns.str.startswith("Unnamed: ")].dropna(how="all")
    values = (dict(zip(frame.columns, texts, strict=True)) for texts in _texts(frame))
    return [Row(path, number, fields) for number, fields in enumerate(values, start=1)]


def _of_json(path: Path, rows: list[Row]) -> list[Row]:
    """Rows of JSON with the values that they would have in VLMEvalKit's TSV of them.

    In JSON they are numbers, and NaN where there is none. What no table holds stays as it is.
    """
    columns = [name for name in COLUMNS if any(name in row.values for row in rows)]
    buffer = StringIO()
    writer = csv.writer(buffer, delimiter="\t", quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    for row in rows:
        fields = [table_field(row.values.get(name)) for name in columns]
        pairs = zip(columns, fields, strict=True)
        writer.writerow(
            row.writable(name, field) if isinstance(field, str) else "" for name, field in pairs
        )
    buffer.seek(0)
    found = []
    for row, texts in zip(rows, _texts(pandas_table(path, buffer)), strict=True):
        pairs = zip(columns, texts, strict=True)
        scalar = {name: text for name, text in pairs if not _is_nested(row.values.get(name, []))}
        found.append(Row(row.path, row.number, {**row.values, **scalar}))
    return found


def _is_nested(value: object) -> bool:
    return isinstance(value, list | dict)


def _texts(frame: pd.DataFrame) -> Iterator[list[str]]:
    """The text of each value, row by row, as Python writes it."""
    for values in frame.astype(object).itertuples(index=False, name=None):
        yield ["" if pd.isna(value) else str(value) for value in values]

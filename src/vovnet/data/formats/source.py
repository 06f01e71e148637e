"""What the reader of a format gets: the files of one split, a store for its images, and rows.

The errors of a row say where it is: file, row and column.
"""

import ast
import re
import sqlite3
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vovnet.config import DataSettings
from vovnet.core.errors import DataError
from vovnet.data.image_store import ImageStore

MAX_DIGITS = 18
"""Whole numbers of so many digits are exact in 64 bits, as all programs count rows."""


def whole_number(text: str) -> int | None:
    """The whole number that a text is, as a table holds it: `7`, or `7.0` in a column with gaps."""
    found = re.fullmatch(rf"(\d{{1,{MAX_DIGITS}}})(\.0+)?", text)
    return int(found[1]) if found else None


@dataclass(frozen=True)
class Row:
    """One raw row; `number` counts data rows from 1."""

    path: Path
    number: int
    values: Mapping[str, Any]

    def at(self, column: str) -> str:
        return f"{self.path}, row {self.number}, column {column!r}"

    def error(self, column: str, message: str) -> DataError:
        return DataError(f"{self.at(column)}: {message}")

    def require(self, columns: tuple[str, ...]) -> None:
        for column in columns:
            if column not in self.values:
                raise self.error(column, "is missing")

    def text(self, column: str) -> str:
        """A required text, not empty."""
        if self.values.get(column) is None:
            raise self.error(column, "is missing")
        text = self.optional_text(column)
        if not text.strip():
            raise self.error(column, "is empty")
        return text

    def optional_text(self, column: str) -> str:
        """A text, "" where there is none."""
        value = self.values.get(column)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.error(column, f"expected text, got {type(value).__name__}")
        return self.writable(column, value)

    def identifier(self, column: str) -> str:
        """An id, which may be a whole number or a text."""
        value = self.values.get(column)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(column)

    def whole_number(self, column: str) -> int:
        """An index: a whole number, which may be written as a text, with a point too (`7.0`)."""
        text = self.identifier(column)
        number = whole_number(text)
        if number is None:
            limit = f" of at most {MAX_DIGITS} digits" if text.isdecimal() else ""
            raise self.error(column, f"expected a whole number{limit}, got {text[:80]!r}")
        return number

    def texts(self, column: str) -> list[str]:
        """A list of texts, empty where there is none."""
        value = self.values.get(column)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(column, "expected a list of texts")
        return [self.writable(column, item) for item in value]

    def writable(self, column: str, text: str) -> str:
        """The text, which must be one: JSON can hold halves of characters, UTF-8 cannot."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.error(column, f"holds no valid text ({error.reason})") from None
        return text


def require_columns(path: Path, names: list[str], required: tuple[str, ...]) -> None:
    """One error for the first column that a table lacks or has twice."""
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path}: two columns are called {name!r}, expected one")
    for name in required:
        if name not in names:
            shown = [other[:80] for other in names]  # a file of another kind may be one long line
            raise DataError(f"{path}: column {name!r} is missing, it has {shown}")


def text_list(text: str, *, numbers: bool = False) -> list[str] | None:
    """The texts of a Python list that is written as a text; None if it is no list of texts.

    With `numbers` they may be among the texts. Only literals are read, nothing is evaluated.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    kinds = {str, int, float} if numbers else {str}
    if not isinstance(value, list) or not {type(item) for item in value} <= kinds:
        return None
    return [str(item) for item in value]


class NameCounts:
    """How often each name occurred, in a temporary file: memory does not grow with the dataset."""

    def __init__(self) -> None:
        self._table = sqlite3.connect("", check_same_thread=False)
        weakref.finalize(self, self._table.close)
        self._table.execute(
            "CREATE TABLE counts (name TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID"
        )

    def add(self, name: str) -> int:
        """Count a name once more; returns how often it has occurred."""
        statement = (
            "INSERT INTO counts VALUES (?, 1)"
            " ON CONFLICT (name) DO UPDATE SET times = times + 1 RETURNING times"
        )
        (times,) = self._table.execute(statement, (name,)).fetchone()
        return int(times)

    def __contains__(self, name: object) -> bool:
        rows = self._table.execute("SELECT 1 FROM counts WHERE name = ?", (name,))
        return rows.fetchone() is not None

    def __iter__(self) -> Iterator[str]:
        """The distinct names, sorted."""
        for (name,) in self._table.execute("SELECT name FROM counts ORDER BY name"):
            yield name

    def __len__(self) -> int:
        (count,) = self._table.execute("SELECT count(*) FROM counts").fetchone()
        return int(count)


@dataclass(frozen=True)
class Source:
    """One split of a raw dataset, with the store that its images go to.

    `further` holds the files that the format's file options name for this split. A reader
    counts in `skipped` what it leaves out, by reason, and notes in `facts` what the manifest
    has to say about how it read the split.
    """

    dataset: str
    split: str
    root: Path
    files: tuple[Path, ...]
    image_root: Path
    images: ImageStore
    data: DataSettings
    further: Mapping[str, Path] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Any] = field(default_factory=dict)
    _ids: NameCounts = field(default_factory=NameCounts)

    @property
    def file(self) -> Path:
        """The split's file, for layouts that have exactly one."""
        if len(self.files) != 1:
            names = [path.name for path in self.files]
            raise DataError(f"{self.root}: split {self.split!r} takes one file, got {names}")
        return self.files[0]

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Every file that is read, images apart."""
        return (*self.files, *self.further.values())

    def unique(self, name: str) -> str:
        """`name`, or `<name>~<n>` where the n-th row would have it; no row gets that of another."""
        times, unique = self._ids.add(name), name
        while times > 1 and self._ids.add(unique := f"{name}~{times}") > 1:
            times += 1
        return unique

    def claim(self, row: Row, column: str, name: str) -> str:
        """`name`, which no row of the split may have had before."""
        if self._ids.add(name) > 1:
            raise row.error(column, f"the id {name!r} occurs twice")
        return name

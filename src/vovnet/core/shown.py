"""Texts that came from data, where a program would take them for commands.

A terminal obeys control characters, a spreadsheet computes cells that begin with an equals sign,
and a page shows HTML. So what writes for them escapes here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Among them are the marks that turn the direction of a text; line ends and tabs are not."""

_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?"
_FORMULA = re.compile(rf"'*(?!{_NUMBER}$)[=+@\t\r-]")
"""How a cell begins that a spreadsheet computes, behind any signs that say it is text."""

_MARKUP = re.compile(r"\\|\||<(?=[a-zA-Z/!?])|(?<=\])\(")
"""In a Markdown table: what escapes, what ends a cell, what begins HTML or a link's address."""


def printable(text: str) -> str:
    """The text with its control characters spelled out, such as an escape as `\\x1b`."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def csv_text(table: pd.DataFrame, **how: Any) -> str:
    """The CSV of a table; a text that a spreadsheet would compute is marked as text by a quote."""
    text: str = _changed(table, _as_text).to_csv(index=False, lineterminator="\n", **how)
    return text


def from_csv_text(table: pd.DataFrame) -> pd.DataFrame:
    """The table that `csv_text` wrote, as it was."""
    return _changed(table, _as_it_was)


def markdown_cell(text: str) -> str:
    """A cell of a Markdown table: one line, in which nothing is HTML, a link or a command."""
    line = printable(" ".join(text.split("\n")))
    return _MARKUP.sub(lambda found: "\\" + found.group(), line)


def from_markdown_cell(cell: str) -> str:
    return re.sub(r"\\([\\<(|])", r"\1", cell)


class Filtered:
    """A stream of text that is changed before it is written, as by `printable` on a terminal."""

    def __init__(self, stream: TextIO, change: Callable[[str], str]) -> None:
        self._stream, self._change = stream, change

    def write(self, text: str) -> int:
        self._stream.write(self._change(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _changed(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The table with other texts; columns in which no text changes stay as they are."""

    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    found = table.copy(deep=False)
    for name, column in table.items():
        if column.dtype.kind not in "biuf":
            texts = (value for value in column if isinstance(value, str))
            if any(change(text) != text for text in texts):
                found[name] = column.astype(object).map(changed)
    return found


def _as_text(value: str) -> str:
    return f"'{value}" if _FORMULA.match(value) else value


def _as_it_was(value: str) -> str:
    return value[1:] if value.startswith("'") and _FORMULA.match(value[1:]) else value

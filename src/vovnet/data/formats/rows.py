"""Rows of raw files whose errors say where they are: file, row and column."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.core.errors import DataError


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
    """One error for the first column that a table lacks."""
    for name in required:
        if name not in names:
            raise DataError(f"{path}: column {name!r} is missing, it has {names}")


def text_list(text: str) -> list[str] | None:
    """The texts of a Python list that is written as a text; None if it is no list of texts.

    Only literals are read, nothing is evaluated.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return value

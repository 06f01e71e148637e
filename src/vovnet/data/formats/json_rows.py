"""Rows of a large JSON array or JSONL file, one at a time."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from vovnet.core.errors import DataError
from vovnet.core.files import MAX_ROW_CHARS, json_reason, open_text, read_jsonl, unique_keys
from vovnet.data.formats.source import Row

JSON_SUFFIXES = (".json", ".jsonl")

_NO_SPACE = re.compile(r"\S")

CHUNK_CHARS = 1 << 20
"""A longer row counts as broken JSON, so that memory stays bounded."""


def is_json(path: Path) -> bool:
    """Whether a file is called like JSON or JSON lines."""
    return path.suffix.lower() in JSON_SUFFIXES


def iter_rows(path: Path) -> Iterator[Row]:
    """The objects of a JSON array or of a JSONL file; `Row.number` counts from 1."""
    with open_text(path) as file:
        array = _Window(file).peek() == "["
    values = _iter_array(path) if array else (value for _, value in read_jsonl(path))
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise DataError(f"{path}, row {number}: expected an object, got {type(value).__name__}")
        yield Row(path, number, value)


def _iter_array(path: Path) -> Iterator[Any]:
    """The objects of a JSON array, read in constant memory."""
    number = 0
    try:
        with open_text(path) as file:
            window = _Window(file)
            separator = window.expect("[")
            if window.peek() == "]":
                separator = window.expect("]")
            while separator != "]":
                yield window.value()
                number += 1
                separator = window.expect(",", "]")
            if window.peek():
                raise ValueError("unexpected text after the array")
    except ValueError as error:
        raise DataError(f"{path}, row {number + 1}: not valid JSON ({error})") from None


class _Window:
    """The part of a file that is being parsed: `text[position:]`, refilled in chunks."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
        self._text = ""
        self._position = 0

    def _refill(self) -> bool:
        """Append as much text as is left, at least a chunk; False at the end of the file."""
        rest = self._text[self._position :]
        more = self._file.read(max(CHUNK_CHARS, len(rest)))
        self._text, self._position = rest + more, 0
        return bool(more)

    def peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            if found := _NO_SPACE.search(self._text, self._position):
                self._position = found.start()
                return found[0]
            self._position = len(self._text)
            if not self._refill():
                return ""

    def expect(self, *characters: str) -> str:
        """Read the next character that is no white space, which must be one of `characters`."""
        character = self.peek()
        if character not in characters:
            expected = " or ".join(repr(other) for other in characters)
            got = f"expected {expected}, got {character!r}"
            raise ValueError(got if character else "ends too early")
        self._position += 1
        return character

    def value(self) -> Any:
        """Parse one value. Where the window cuts it off, try again with more text."""
        self.peek()
        while True:
            try:
                value, self._position = self._decoder.raw_decode(self._text, self._position)
                return value
            except (ValueError, RecursionError) as error:
                too_long = len(self._text) - self._position > MAX_ROW_CHARS
                if too_long or not self._refill():
                    raise ValueError(json_reason(error)) from None

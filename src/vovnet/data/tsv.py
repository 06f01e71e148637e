"""VLMEvalKit's TSV form: base64 images, lettered options, one row per question."""

from __future__ import annotations

import base64
import binascii
import csv
import string
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vovnet.data.images import ImageStore
from vovnet.data.literals import text_list
from vovnet.data.source import Row, require_columns
from vovnet.errors import DataError
from vovnet.records import ImageRef

MAX_REFERENCE_LENGTH = 64
"""An `image` value no longer than this is the index of the row that holds the image."""


def read_tsv(path: Path, required: tuple[str, ...]) -> Iterator[Row]:
    """Stream the rows; every value is the text as it stands, "" where a field is empty."""
    csv.field_size_limit(sys.maxsize)
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t", strict=True)
            names = next(reader, [])
            require_columns(path, names, required)
            for fields in reader:
                if not fields:
                    continue
                number += 1
                if len(fields) != len(names):
                    raise DataError(
                        f"{path}, row {number}: expected {len(names)} columns, got {len(fields)}"
                    )
                yield Row(path, number, dict(zip(names, fields, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}, row {number + 1}: not valid TSV ({error})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, row {number + 1}: not valid UTF-8 ({error.reason})") from None


def rows_of_split(
    path: Path, required: tuple[str, ...], split: str, skipped: Counter[str]
) -> Iterator[Row]:
    """The rows of one split. A row without a `split` belongs to every split."""
    others: set[str] = set()
    kept = 0
    for row in read_tsv(path, required):
        named = row.optional_text("split")
        if named in ("", split):
            kept += 1
            yield row
        else:
            others.add(named)
            skipped["other split"] += 1
    if others and not kept:
        raise DataError(f"{path}: no row has split {split!r}, the file has {sorted(others)}")


def lettered_choices(row: Row) -> dict[str, str]:
    """The options A, B, C ... that are not empty, as they stand."""
    choices = {letter: row.optional_text(letter) for letter in string.ascii_uppercase}
    return {letter: text for letter, text in choices.items() if text}


class TsvImages:
    """Resolves the `image` column: base64, a Python list of base64, or another row's index.

    Images are stored while rows stream by. A reference to a row that has not been read
    (a later one, or one of another split) costs one pass over the file, once.
    """

    def __init__(self, path: Path, store: ImageStore) -> None:
        self._path = path
        self._store = store
        self._known: dict[str, list[ImageRef]] = {}
        self._scanned = False

    def of(self, row: Row) -> list[ImageRef]:
        value = row.text("image")
        if len(value) > MAX_REFERENCE_LENGTH:
            refs = self._decode(row, value)
        else:
            refs = self._refer(row, value)
        self._known[row.text("index")] = refs
        return refs

    def _refer(self, row: Row, index: str) -> list[ImageRef]:
        if index not in self._known and not self._scanned:
            self._scan()
        if index not in self._known:
            raise row.error("image", f"refers to index {index!r}, which no row with an image has")
        return self._known[index]

    def _scan(self) -> None:
        self._scanned = True
        required = ("index", "image")
        values = (row.values["image"] for row in read_tsv(self._path, required))
        wanted = {value for value in values if len(value) <= MAX_REFERENCE_LENGTH}
        for row in read_tsv(self._path, required):
            index, value = row.values["index"], row.values["image"]
            holds_image = len(value) > MAX_REFERENCE_LENGTH
            if holds_image and index in wanted and index not in self._known:
                self._known[index] = self._decode(row, value)

    def _decode(self, row: Row, value: str) -> list[ImageRef]:
        parts = [value]
        if value.startswith("["):
            parts = text_list(value) or []
        if not parts:
            raise row.error("image", "expected base64 or a list of base64 texts")
        return [self._store.add(_base64(row, part), row.at("image")) for part in parts]


def _base64(row: Row, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise row.error("image", f"not valid base64 ({error})") from None

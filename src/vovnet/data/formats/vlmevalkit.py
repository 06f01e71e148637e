"""VLMEvalKit's tables: one row per question with base64 images and lettered options.

They come as TSV, or as JSON or XLSX with the same rows.
"""

from __future__ import annotations

import base64
import csv
import string
import warnings
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from zipfile import BadZipFile

from vovnet.core.errors import DataError, one_line
from vovnet.core.files import MAX_ROW_CHARS, lines_of, open_text
from vovnet.core.records import ImageRef
from vovnet.data.formats.json_rows import is_json, iter_rows
from vovnet.data.formats.source import Row, Source, require_columns, text_list

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = (".tsv", ".xlsx")

_XLSX_ERRORS = (
    *(BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError),
    *(SyntaxError, KeyError, ValueError, IndexError),
)
"""What openpyxl raises on a file that is no workbook, is cut off, encrypted, or not well formed."""

MAX_REFERENCE_LENGTH = 64
"""An `image` value of at most so many characters is the index of the row with the image."""


def is_table(path: Path) -> bool:
    """Whether a file is called like a TSV or a workbook."""
    return path.suffix.lower() in TABLE_SUFFIXES


def is_workbook(path: Path) -> bool:
    return path.suffix.lower() == ".xlsx"


def read_tsv(path: Path, required: tuple[str, ...], delimiter: str = "\t") -> Iterator[Row]:
    """Stream the rows of a TSV, or of a CSV with another delimiter.

    Every value is the text as it stands, "" where a field is empty.
    """
    csv.field_size_limit(MAX_ROW_CHARS)
    number = 0
    try:
        with open_text(path) as file:
            reader = csv.reader(lines_of(path, file), delimiter=delimiter, strict=True)
            names = next(reader, [])
            require_columns(path, names, required)
            for number, fields in enumerate(filter(None, reader), start=1):
                if len(fields) != len(names):
                    raise DataError(
                        f"{path}, row {number}: expected {len(names)} columns, got {len(fields)}"
                    )
                yield Row(path, number, dict(zip(names, fields, strict=True)))
    except csv.Error as error:
        kind = "TSV" if delimiter == "\t" else "CSV"
        raise DataError(f"{path}, row {number + 1}: not valid {kind} ({error})") from None


def read_xlsx(path: Path, required: tuple[str, ...]) -> Iterator[Row]:
    """Stream the rows of a workbook's first sheet, with the same values as a TSV has.

    A column without a header, and a row without a value, is left out: sheets hold them where a
    cell was once used.
    """
    from openpyxl import load_workbook

    number = 0
    try:
        with closing(load_workbook(path, read_only=True, data_only=True)) as book:
            rows = book.worksheets[0].iter_rows(values_only=True)
            header = next(rows, ())
            columns = {at: str(name) for at, name in enumerate(header) if name not in (None, "")}
            require_columns(path, list(columns.values()), required)
            for values in rows:
                cells = {at: value for at, value in enumerate(values) if value is not None}
                fields = {name: str(cells.get(at, "")) for at, name in columns.items()}
                if any(fields.values()):
                    number += 1
                    yield Row(path, number, fields)
    except _XLSX_ERRORS as error:
        reason = one_line(error)
        raise DataError(f"{path}, row {number + 1}: not valid XLSX ({reason})") from None


def read_json_table(path: Path, required: tuple[str, ...]) -> Iterator[Row]:
    """Stream the same rows from JSON; VLMEvalKit's results hold them under `annotation`."""
    for row in iter_rows(path):
        values = row.values.get("annotation", row.values)
        if not isinstance(values, dict):
            raise row.error("annotation", "expected an object")
        table_row = Row(
            path, row.number, {name: table_field(value) for name, value in values.items()}
        )
        table_row.require(required)
        yield table_row


def table_field(value: Any) -> Any:
    """A value as a TSV holds it: a number as text, and "" for a missing one (null or NaN)."""
    if value is None or value != value:
        return ""
    return str(value) if isinstance(value, int | float) else value


def read_table(path: Path, required: tuple[str, ...]) -> Iterator[Row]:
    """The rows of a JSON file or a workbook if its name ends like one, else of a TSV."""
    if is_json(path):
        return read_json_table(path, required)
    return (read_xlsx if is_workbook(path) else read_tsv)(path, required)


def pandas_table(path: Path, text: TextIO | None = None) -> pd.DataFrame:
    """A TSV or a workbook as VLMEvalKit sees it: pandas infers what a column holds.

    `text` is a TSV that stands for the rows of the file. Faults that `read_table` refuses, pandas
    mends in silence.
    """
    import pandas as pd

    if text is None and is_workbook(path):
        return pd.read_excel(path, engine="openpyxl")
    try:
        with warnings.catch_warnings():
            # It warns of columns that are numbers in one part of a large file and not in another.
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            return pd.read_csv(text or path, sep="\t")
    except ValueError as error:
        raise DataError(f"{path}: not valid TSV ({one_line(error)})") from None


def rows_of_split(source: Source, required: tuple[str, ...], split: str) -> Iterator[Row]:
    """The rows of one split. A row without a `split` belongs to every split."""
    others: set[str] = set()
    kept = 0
    for row in read_table(source.file, required):
        name = row.optional_text("split")
        if name in ("", split):
            kept += 1
            yield row
        else:
            others.add(name)
            source.skipped["other split"] += 1
    if others and not kept:
        found = sorted(others)
        raise DataError(f"{source.file}: no row has split {split!r}, the file has {found}")


def lettered_choices(row: Row) -> dict[str, str]:
    """The options A, B, C ... that are not empty, as they stand."""
    choices = {letter: row.optional_text(letter) for letter in string.ascii_uppercase}
    return {letter: text for letter, text in choices.items() if text}


class TableImages:
    """Resolves the `image` column: base64, a Python list of base64, or another row's index.

    Images are stored while rows stream by. The first reference to a row that has not been read
    yet (a later one, or one of another split) costs one pass over the file.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._by_index: dict[str, list[ImageRef]] = {}
        self._scanned = False

    def of(self, row: Row) -> list[ImageRef]:
        """The images of a row; rows of MMBench's published samples name an `image_file`."""
        if "image" not in row.values and "image_file" in row.values:
            images, folder = self._source.images, self._source.image_root
            return [images.add_file(folder, row.text("image_file"), row.at("image_file"))]
        value = row.text("image")
        if len(value) > MAX_REFERENCE_LENGTH:
            refs = self._decode(row, value)
        else:
            if value not in self._by_index and not self._scanned:
                self._scan()
            if value not in self._by_index:
                raise row.error(
                    "image", f"refers to index {value!r}, which no row with an image has"
                )
            refs = self._by_index[value]
        self._by_index[row.text("index")] = refs
        return refs

    def _scan(self) -> None:
        self._scanned = True
        required = ("index", "image")
        values = (row.optional_text("image") for row in read_table(self._source.file, required))
        references = {value for value in values if len(value) <= MAX_REFERENCE_LENGTH}
        for row in read_table(self._source.file, required):
            index, value = row.optional_text("index"), row.optional_text("image")
            holds_image = len(value) > MAX_REFERENCE_LENGTH
            if holds_image and index in references and index not in self._by_index:
                self._by_index[index] = self._decode(row, value)

    def _decode(self, row: Row, value: str) -> list[ImageRef]:
        parts = [value]
        if value.startswith("["):
            parts = text_list(value) or []
        if not parts:
            raise row.error("image", "expected base64 or a list of base64 texts")
        try:
            images = [base64.b64decode(part, validate=True) for part in parts]
        except ValueError as error:
            raise row.error("image", f"not valid base64 ({error})") from None
        return [self._source.images.add(image, row.at("image")) for image in images]

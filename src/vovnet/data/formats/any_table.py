"""Tables of any layout: what their columns hold, the dataset's `columns` say.

The rows come as parquet, JSON, JSONL, TSV, CSV or XLSX, one at a time: large images in them are in
memory one by one.
"""

import base64
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vovnet.config import Columns
from vovnet.core.errors import DataError
from vovnet.core.records import ImageRef, Sample
from vovnet.data.formats.json_rows import is_json, iter_rows
from vovnet.data.formats.mmmu import parquet_rows
from vovnet.data.formats.source import Row, Source, text_list, whole_number
from vovnet.data.formats.vlmevalkit import (
    MAX_REFERENCE_LENGTH,
    TableImages,
    is_table,
    is_workbook,
    read_tsv,
    read_xlsx,
)

FILES = "any parquet, JSON, JSONL, TSV, CSV or XLSX; `columns` say what is where"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def iter_table(path: Path, required: tuple[str, ...], optional: tuple[str, ...]) -> Iterator[Row]:
    """The rows of a table that must have the columns `required`; of parquet no others are read."""
    if path.suffix.lower() == ".parquet":
        yield from parquet_rows(path, required, optional)
    elif is_json(path):
        for row in iter_rows(path):
            row.require(required)
            yield row
    elif is_workbook(path):
        yield from read_xlsx(path, required)
    else:
        delimiter = "," if path.suffix.lower() == ".csv" else "\t"
        yield from read_tsv(path, required, delimiter)


def chosen_rows(
    path: Path, required: tuple[str, ...], optional: tuple[str, ...], where: dict[str, str]
) -> Iterator[Row]:
    """The rows that have in some columns the values that are asked for."""
    for row in iter_table(path, (*required, *where), optional):
        if all(text_of(row, column) == value for column, value in where.items()):
            yield row


def text_of(row: Row, column: str | None) -> str:
    """A value as a text, numbers too; "" where there is none."""
    value = row.values.get(column) if column is not None else None
    if isinstance(value, int | float):
        return "" if value != value else str(value)
    return row.optional_text(column) if column is not None else ""


def texts_of(row: Row, column: str | None) -> list[str]:
    """The texts of a list, or of the text of a Python list; one text alone, or none."""
    if column is None:
        return []
    value = row.values.get(column)
    if isinstance(value, list):
        parts = [Row(row.path, row.number, {column: item}) for item in value if item is not None]
        return [text_of(part, column) for part in parts]
    text = text_of(row, column)
    found = text_list(text, numbers=True) if text.startswith("[") else None
    return found if found is not None else [text] if text.strip() else []


def names_of(columns: str | list[str] | None) -> list[str]:
    """The columns that one or more are, or none."""
    return columns if isinstance(columns, list) else [columns] if columns else []


def _lettered(texts: list[str]) -> dict[str, str]:
    return dict(zip(string.ascii_uppercase, filter(None, texts), strict=False))


class Table:
    """The rows of a split, read as the dataset's `columns` say."""

    def __init__(self, source: Source) -> None:
        definition = source.data.datasets[source.dataset]
        self.source, self.columns = source, definition.columns or Columns()
        self.where = definition.where or {}
        of_vlmevalkit = len(source.files) == 1 and is_table(source.files[0])
        self._referenced = TableImages(source) if of_vlmevalkit else None

    def rows(self) -> Iterator[tuple[Row, str]]:
        """Each row with the id of its question: the row's own, or its place, counted from 0."""
        named = self.columns.model_fields_set  # what is not named may be missing
        required, optional = list[str](), list[str]()
        for key, value in self.columns:
            if key == "answer_is":
                continue
            (required if key in named else optional).extend(names_of(value))
        optional += [*string.ascii_uppercase, "index"]
        further = tuple(dict.fromkeys(name for name in optional if name not in required))
        number = 0
        for path in self.source.files:
            for row in chosen_rows(path, tuple(dict.fromkeys(required)), further, self.where):
                yield row, self._claim(row, number)
                number += 1

    def _claim(self, row: Row, number: int) -> str:
        column = self.columns.id
        if column is None or row.values.get(column) is None:
            return self.source.claim(row, column or "id", str(number))
        name = text_of(row, column)
        return self.source.claim(row, column, name if name.strip() else row.text(column))

    def sample(self, row: Row, name: str, **own: Any) -> Sample:
        """The sample of a row; `own` is what the format reads of it, such as the answer."""
        columns = self.columns
        return Sample(
            id=name,
            dataset=self.source.dataset,
            split=self.source.split,
            question="" if columns.question is None else row.text(columns.question),
            images=self._images(row),
            hint=text_of(row, columns.hint),
            category=text_of(row, columns.category),
            **own,
        )

    def choices(self, row: Row) -> dict[str, str]:
        """The options by letter, of which there must be two at least."""
        column = self.columns.options
        if column is None:
            lettered = {letter: text_of(row, letter) for letter in string.ascii_uppercase}
            choices = {letter: text for letter, text in lettered.items() if text}
        elif isinstance(column, list):
            choices = _lettered([text_of(row, name) for name in column])
        else:
            choices = _lettered(texts_of(row, column))
        if len(choices) < 2:
            raise row.error(names_of(column or "A")[0], "expected two options")
        return choices

    def _images(self, row: Row) -> list[ImageRef]:
        """The images of a row; none where no column holds any."""
        names = names_of(self.columns.image)
        refs = [ref for name in names for ref in self._images_in(row, name, row.values.get(name))]
        if names and not refs:
            raise row.error(names[0], "is missing (`columns.image: null` if there are no images)")
        return refs

    def _images_in(self, row: Row, column: str, value: Any) -> list[ImageRef]:
        store, where = self.source.images, row.at(column)
        if value is None or value == "":
            return []
        if isinstance(value, list):
            return [ref for item in value for ref in self._images_in(row, column, item)]
        if isinstance(value, dict):  # as the hub stores images
            return self._images_in(row, column, value.get("bytes") or value.get("path"))
        if isinstance(value, bytes):
            return [store.add(value, where)]
        if not isinstance(value, str):
            raise row.error(column, f"expected an image, got {type(value).__name__}")
        if value.lower().endswith(IMAGE_SUFFIXES):
            return [store.add_file(self.source.image_root, row.writable(column, value), where)]
        if column == "image" and "index" in row.values and self._referenced is not None:
            return self._referenced.of(row)
        if len(value) <= MAX_REFERENCE_LENGTH:
            raise row.error(column, f"expected an image or the path of one, got {value!r}")
        try:
            return [store.add(base64.b64decode(value, validate=True), where)]
        except ValueError as error:
            raise row.error(column, f"not valid base64 ({error})") from None


def lettered_gold(row: Row, columns: Columns, choices: dict[str, str]) -> str:
    """The letter of the option that the gold answer names, as `columns.answer_is` says.

    Where that is left out a letter comes first, and a place that is the text of another option,
    too, is an error.
    """
    gold, kind, letters = text_of(row, columns.answer), columns.answer_is, list(choices)
    if not gold:
        return ""
    place = whole_number(gold)
    named = {
        "letter": [gold] if gold in choices else [],
        "place": [] if place is None else letters[place : place + 1],
        "text": [letter for letter, text in choices.items() if text == gold],
    }
    kinds = [kind] if kind else ["letter"] if named["letter"] else ["place", "text"]
    found = {letter for one in kinds for letter in named[one]}
    if len(found) == 1:
        return found.pop()
    told = f"{row.at(str(columns.answer))}: "
    if len(kinds) > 1 and named["place"] and named["text"]:
        raise DataError(
            f"{told}{gold!r} is the place of option {named['place'][0]} (counted from 0) and the"
            f" text of {named['text'][0]}, expected `columns.answer_is` to say place or text"
        )
    expected = {
        "letter": f"one of {letters}",
        "place": "the place of an option counted from 0",
        "text": "the text of one option",
    }
    names = expected[kind] if kind else ", or ".join(expected.values())
    raise DataError(f"{told}expected {names}, got {gold[:80]!r}")

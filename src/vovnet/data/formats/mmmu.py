"""MMMU: the hub's parquet files per subject, their rows as JSON, or VLMEvalKit's table.

Questions keep their `<image n>` marks; `Sample.images` holds the images in that order.
"""

import re
import string
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vovnet.core.errors import DataError, one_line
from vovnet.core.files import MAX_ROW_CHARS, check_is_file
from vovnet.core.records import ImageRef, QuestionType, Sample
from vovnet.data.formats.base import DatasetFormat
from vovnet.data.formats.json_rows import is_json, iter_rows
from vovnet.data.formats.source import Row, Source, require_columns, text_list
from vovnet.data.formats.vlmevalkit import (
    TableImages,
    is_table,
    lettered_choices,
    rows_of_split,
)

IMAGE_COLUMNS = tuple(f"image_{number}" for number in range(1, 8))
PARQUET_REQUIRED = ("id", "question", "options", "question_type", "image_1")
PARQUET_OPTIONAL = ("answer", "subfield", *IMAGE_COLUMNS[1:])
ROW_REQUIRED = ("question", "options", "image_1")
TABLE_REQUIRED = ("index", "question", "question_type", "A", "B", "image")

QUESTION_TYPES: dict[str, QuestionType] = {
    "multiple-choice": "multiple-choice",
    "open": "open",
    "short-answer": "open",
}
NO_GOLD = "?"
"""What the test split has in place of an answer."""


def read(source: Source) -> Iterator[Sample]:
    """The samples in the order of the files (sorted by subject) and of their rows."""
    if _has_lettered_columns(source.files[0]):
        images = TableImages(source)
        for row in rows_of_split(source, TABLE_REQUIRED, source.split):
            choices = lettered_choices(row)
            name = "id" if "id" in row.values else "index"
            yield _sample(
                source, row, name, row.optional_text("l2-category"), choices, images.of(row)
            )
        return
    for path in source.files:
        for row in _hub_rows(path):
            refs = images_of(source, row)
            yield _sample(source, row, "id", _subject(source, row), _options(row), refs)


def _hub_rows(path: Path) -> Iterator[Row]:
    if is_json(path):
        return json_rows(path)
    return parquet_rows(path, PARQUET_REQUIRED, PARQUET_OPTIONAL)


def _has_lettered_columns(path: Path) -> bool:
    """Whether a file has lettered options, a column for each, and no list of options."""
    if is_json(path):
        return all("options" not in row.values for row in islice(iter_rows(path), 1))
    return is_table(path)


def json_rows(path: Path) -> Iterator[Row]:
    """The hub's rows as MMMU-Pro's tools write them: images by path, choices only, no ids."""
    for row in iter_rows(path):
        row.require(ROW_REQUIRED)
        fixed = {"id": f"{path.stem}:{row.number}", "question_type": "multiple-choice"}
        paths = {name: row.values.get(name) for name in IMAGE_COLUMNS}
        images = {key: {"path": item} for key, item in paths.items() if isinstance(item, str)}
        yield Row(path, row.number, {**fixed, **row.values, **images})


def _sample(
    source: Source,
    row: Row,
    id_column: str,
    subject: str,
    choices: dict[str, str],
    images: list[ImageRef],
) -> Sample:
    name = row.text("question_type")
    if name not in QUESTION_TYPES:
        raise row.error("question_type", f"expected one of {list(QUESTION_TYPES)}, got {name!r}")
    question_type, gold = QUESTION_TYPES[name], _gold(row)
    answer = gold[0] if gold else ""
    lettered = question_type == "multiple-choice"
    if lettered and len(choices) < 2:
        raise row.error("options" if "options" in row.values else "A", "expected two options")
    if lettered and gold and (len(gold) > 1 or answer not in choices):
        raise row.error("answer", f"expected one of {list(choices)}, got {gold}")
    return Sample(
        id=source.claim(row, id_column, row.identifier(id_column)),
        dataset=source.dataset,
        split=source.split,
        question_type=question_type,
        question=row.text("question"),
        images=images,
        choices=choices,
        answer=answer,
        answer_text=choices.get(answer, "") if lettered else answer,
        answers=[] if lettered else gold,
        category=row.optional_text("subfield"),
        subject=subject,
    )


def parquet_rows(path: Path, required: tuple[str, ...], optional: tuple[str, ...]) -> Iterator[Row]:
    """The rows of a parquet file, one in memory at a time: rows can share what is stored once."""
    number = 0
    try:
        check_is_file(path)
        file = pq.ParquetFile(path)
        names = list(file.schema_arrow.names)
        require_columns(path, names, required)
        columns = [name for name in required + optional if name in names]
        for batch in file.iter_batches(batch_size=1, columns=columns):
            for values in batch.to_pylist():
                number += 1
                yield _bounded(Row(path, number, values))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = one_line(error)
        raise DataError(f"{path}, row {number + 1}: not readable as parquet ({reason})") from None


def _bounded(row: Row) -> Row:
    for column, value in row.values.items():
        content = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(content, bytes | str) and len(content) > MAX_ROW_CHARS:
            raise row.error(column, f"holds more than {MAX_ROW_CHARS:,} bytes")
    return row


def _subject(source: Source, row: Row) -> str:
    """The subject of the id (`validation_Accounting_1`), or else the folder's name."""
    match = re.fullmatch(r"(?:dev|validation|test)_(.+)_\d+", row.identifier("id"))
    if match:
        return match[1]
    return row.path.parent.name if row.path.parent != source.root else ""


def _options(row: Row) -> dict[str, str]:
    value = row.values["options"]
    options = text_list(value) if isinstance(value, str) else value
    if not isinstance(options, list) or not all(isinstance(item, str) for item in options):
        raise row.error("options", f"expected a list of texts, got {str(value)[:80]!r}")
    letters = string.ascii_uppercase
    if len(options) > len(letters):
        raise row.error("options", f"expected at most {len(letters)} options, got {len(options)}")
    texts = [row.writable("options", option) for option in options]
    return dict(zip(letters, texts, strict=False))


def images_of(source: Source, row: Row, columns: tuple[str, ...] = IMAGE_COLUMNS) -> list[ImageRef]:
    """The images of a row's columns, of which one at least must hold an image."""
    refs = []
    for column in columns:
        value: Any = row.values.get(column)
        if value is None:
            continue
        if not isinstance(value, dict) or not {"bytes", "path"} & value.keys():
            raise row.error(
                column, f"expected a struct of bytes and path, got {type(value).__name__}"
            )
        if isinstance(value.get("bytes"), bytes):
            refs.append(source.images.add(value["bytes"], row.at(column)))
        elif path := value.get("path"):
            if not isinstance(path, str):
                raise row.error(column, f"expected a path, got {type(path).__name__}")
            place = source.image_root, row.writable(column, path), row.at(column)
            refs.append(source.images.add_file(*place))
    if not refs:
        raise row.error(columns[0], "the question has no image")
    return refs


def _gold(row: Row) -> list[str]:
    """All gold answers; none where the split keeps its answers back."""
    value = row.values.get("answer")
    if isinstance(value, list):
        return row.texts("answer")
    text = row.optional_text("answer")
    if text in ("", NO_GOLD):
        return []
    several = text_list(text) if text.startswith("[") else None
    return [row.writable("answer", item) for item in several or [text]]


FORMAT = DatasetFormat(
    read=read,
    scorer="mmmu",
    question_types=("multiple-choice", "open"),
    files="parquet per subject as on the hub, the same rows as JSON, or VLMEvalKit's TSV and"
    " results",
    answers="a letter, or one or more accepted texts",
    category="`subfield`",
)

"""Questions in tables of any layout: four containers, one mapping of columns."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.raw_rows import b64, failure, picture, prepared, raw, settings_for, write_tsv
from vovnet.core.errors import ConfigError
from vovnet.data.formats import format_of

COLUMNS = {"id": "key", "question": "query", "answer": "label", "image": "shot", "category": "kind"}
ROWS = [
    {"key": "q1", "query": "What is it?", "label": "a cat", "kind": "pets"},
    {"key": "q2", "query": "How many?", "label": "12", "kind": "sums"},
]


def write(tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Rows with an image each: bytes where the container holds them, else base64 or a path."""
    path, suffix = raw(tmp_path, name), Path(name).suffix
    if suffix == ".parquet":
        pictures = [{"bytes": picture(), "path": "a.png"} for _ in rows]
        table = [row | {"shot": shot} for row, shot in zip(rows, pictures, strict=True)]
        pq.write_table(pa.Table.from_pylist(table), path)
    elif suffix == ".tsv":
        write_tsv(path, [row | {"shot": b64(picture())} for row in rows], [*rows[0], "shot"])
    else:
        (path.parent / "shot.png").write_bytes(picture())
        shown = [row | {"shot": "shot.png"} for row in rows]
        if suffix == ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(shown[0]))
                writer.writeheader()
                writer.writerows(shown)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in shown))


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.tsv", "a.csv"])
def test_every_container_gives_the_same_samples(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, ROWS)
    first, second = prepared(tmp_path, "open", name, columns=COLUMNS)
    assert (first.id, first.question, first.answer) == ("q1", "What is it?", "a cat")
    assert (first.category, first.question_type, len(first.images)) == ("pets", "open", 1)
    assert (second.answer, second.answers) == ("12", ["12"])


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.tsv", "a.csv"])
def test_rows_may_be_chosen_and_lists_be_texts(tmp_path: Path, name: str) -> None:
    rows = [row | {"label": '["x", 0.57, 6]', "split": row["key"]} for row in ROWS]
    write(tmp_path, name, rows)
    (only,) = prepared(tmp_path, "open", name, columns=COLUMNS, where={"split": "q2"})
    assert (only.id, only.answer, only.answers) == ("q2", "x", ["x", "0.57", "6"])


@pytest.mark.parametrize(
    ("row", "columns", "letter"),
    [
        ({"A": "one", "B": "two", "answer": "B"}, {}, "B"),
        ({"opts": ["one", "two"], "answer": 1}, {"options": "opts"}, "B"),
        ({"opts": "['one', 'two']", "answer": "two"}, {"options": "opts"}, "B"),
        ({"x": "one", "y": "two", "answer": "0"}, {"options": ["x", "y"]}, "A"),
        ({"opts": ["3", "1", "2"], "answer": "1"}, {"options": "opts"}, "B"),
        ({"opts": ["1", "2", "3"], "answer": "1"}, {"options": "opts", "answer_is": "place"}, "B"),
        ({"opts": ["1", "2", "3"], "answer": 1}, {"options": "opts", "answer_is": "text"}, "A"),
        ({"opts": ["B", "A"], "answer": "A"}, {"options": "opts", "answer_is": "text"}, "B"),
        ({"A": "one", "B": "two"}, {}, ""),
    ],
)
def test_gold_is_a_letter_a_place_or_a_text(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, Any], letter: str
) -> None:
    raw(tmp_path, "a.jsonl").write_text(json.dumps({"question": "Which?"} | row) + "\n")
    columns = columns | {"image": None}
    (sample,) = prepared(tmp_path, "choices", "a.jsonl", columns=columns)
    assert sample.answer == letter and list(sample.choices)[:2] == ["A", "B"]
    assert sample.id == "0" and sample.images == []


def test_images_of_vlmevalkit_refer_to_another_row(tmp_path: Path) -> None:
    row = {"question": "Is there a dog?", "answer": "Yes"}
    rows = [row | {"index": "1", "image": b64(picture())}, row | {"index": "2", "image": "1"}]
    write_tsv(raw(tmp_path, "POPE.tsv"), rows, ["index", "question", "answer", "image"])
    first, second = prepared(tmp_path, "open", "POPE.tsv", columns={"id": "index"})
    assert first.images == second.images and second.id == "2"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": "x", "image": "a.png"}, "a.jsonl, row 1, column 'question': is missing"),
        ({"question": "?", "image": "no.png"}, "column 'image': image file no.png not found"),
        ({"question": "?", "image": "short"}, "expected an image or the path of one, got 'short'"),
        ({"question": "?"}, "column 'image': is missing (`columns.image: null`"),
        ({"question": "?", "image": 5}, "column 'image': expected an image, got int"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    raw(tmp_path, "a.jsonl").write_text(json.dumps(row) + "\n")
    assert message in failure(tmp_path, "open", "a.jsonl")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("C", "expected one of ['A', 'B']"),
        ("7", "counted from 0"),
        ("1", "'1' is the place of option B (counted from 0) and the text of A, expected"),
    ],
)
def test_gold_that_names_no_option_is_refused(tmp_path: Path, answer: str, message: str) -> None:
    row = {"question": "?", "A": "1", "B": "two", "answer": answer}
    raw(tmp_path, "a.jsonl").write_text(json.dumps(row) + "\n")
    assert message in failure(tmp_path, "choices", "a.jsonl", columns={"image": None})


def test_a_named_column_must_be_there(tmp_path: Path) -> None:
    write(tmp_path, "a.tsv", ROWS)
    message = failure(tmp_path, "open", "a.tsv", columns=COLUMNS | {"hint": "clue"})
    assert "a.tsv: column 'clue' is missing" in message


def test_other_formats_have_columns_of_their_own(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "mmbench", "a.tsv", columns={"id": "key"})
    with pytest.raises(ConfigError, match="columns: format 'mmbench' has columns of its own"):
        format_of(settings, "toy")

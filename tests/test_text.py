"""Text as users write it: byte order marks, encodings, halves of characters, keys twice."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import settings

from support.properties import given, st
from support.raw_rows import (
    failure,
    llava_row,
    mc_row,
    mmmu_row,
    picture,
    prepared,
    raw,
    settings_for,
    textvqa_row,
    write_tsv,
)
from support.repository import shared
from vovnet.config import read_yaml
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json, read_jsonl, read_text
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.prepare import prepare
from vovnet.data.samples import read_samples

QUESTION = "Wie groß ist das Schild 看板?"
FORMATS: dict[str, tuple[str, str]] = {
    "tsv": ("mmbench", "dev.tsv"),
    "json table": ("mmbench", "dev.json"),
    "textvqa": ("textvqa", "dev.json"),
    "llava": ("llava", "dev.json"),
    "llava lines": ("llava", "dev.jsonl"),
    "mmmu": ("mmmu", "dev.json"),
}
"""Layout of a raw text file -> its format and its name."""


def case(name: str, kind: str, tmp_path: Path) -> list[Sample]:
    """The samples of a case's own files."""
    folder = shared(f"cases/{name}")
    dataset = yaml.safe_load((folder / "config.yaml").read_text())["data"]["datasets"]["toy"]
    given_settings = settings_for(tmp_path, kind, dataset["files"]["dev"])
    value = given_settings.model_dump()
    value["data"]["datasets"]["toy"] |= dataset | {"root": str(folder)}
    layout = Layout(tmp_path / "results")
    prepare(type(given_settings).model_validate(value), "toy", "dev", layout)
    return list(read_samples(layout.samples("toy", "dev")))


def rows_of(layout: str, question: str) -> list[dict[str, Any]]:
    if layout in ("tsv", "json table"):
        return [mc_row(1), mc_row(2, question=question)]
    if layout == "textvqa":
        return [textvqa_row(1), textvqa_row(2, question=question)]
    if layout == "mmmu":
        row = {"options": ["a", "b"], "answer": "A", "image_1": "ab.jpg"}
        return [row | {"question": "q"}, row | {"question": question}]
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": "x"}]
    rows = [llava_row("1", image="ab.jpg"), llava_row("2", image="ab.jpg", conversations=turns)]
    return rows


def write(tmp_path: Path, layout: str, rows: list[dict[str, Any]], encoding: str = "utf-8") -> Path:
    """The rows in a file of a layout and an encoding, beside the image that they show."""
    raw(tmp_path, "im/ab.jpg").write_bytes(picture(kind="JPEG"))
    path = raw(tmp_path, FORMATS[layout][1])
    if layout == "tsv":
        write_tsv(path, rows)
        text = path.read_text(encoding="utf-8")
    elif layout == "llava lines":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        value: Any = {"data": rows} if layout == "textvqa" else rows
        text = json.dumps(value, ensure_ascii=False, indent=1)
    path.write_bytes(text.encode(encoding))
    return path


def kind_and_file(layout: str) -> tuple[str, str]:
    return FORMATS[layout]


# ---------------------------------------------------------------- encodings


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_is_read_with_and_without_a_byte_order_mark(
    layout: str, encoding: str, tmp_path: Path
) -> None:
    write(tmp_path, layout, rows_of(layout, QUESTION), encoding)
    samples = prepared(tmp_path, *kind_and_file(layout), image_root="im")
    assert [sample.question for sample in samples][1] == QUESTION


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-be", "shift_jis", "latin-1"])
def test_another_encoding_is_named_by_file_and_line(
    layout: str, encoding: str, tmp_path: Path
) -> None:
    question = "Größe des Schildes?" if encoding == "latin-1" else "看板?"
    path = write(tmp_path, layout, rows_of(layout, question), encoding)
    message = failure(tmp_path, *kind_and_file(layout), image_root="im")
    if encoding != "utf-16-be":  # without a mark it is UTF-8 with zeros, as far as ASCII goes
        content = path.read_bytes()
        ends = 0 if encoding == "utf-16" else content.index(question.encode(encoding))
        line = content[:ends].count(b"\n") + 1
        assert message.startswith(f"{path.name}, line {line}: not valid UTF-8 ("), message


@given(st.binary(max_size=40))
def test_any_bytes_are_text_or_one_line(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(content)
        try:
            assert read_text(path).encode() == content.removeprefix(b"\xef\xbb\xbf")
        except DataError as error:
            assert str(error).startswith(f"{path}, ") and "\n" not in str(error)
        for read in (read_json, lambda path: list(read_jsonl(path)), read_yaml):
            try:
                read(path)
            except (DataError, ConfigError) as error:
                assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_a_character_that_the_end_cuts_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("a\né".encode()[:-1])
    with pytest.raises(DataError, match=r"x, line 2: .*unexpected end of data, byte 1"):
        read_text(tmp_path / "x")


# ---------------------------------------------------------------- halves of characters

HALF = "\ud83d"
MMMU = {"id": "1", "question": "q", "options": "['a', 'b']", "answer": "A"}


@pytest.mark.parametrize("layout", [name for name in FORMATS if name != "tsv"])
def test_half_a_character_in_any_column_is_one_line(layout: str) -> None:
    rows = rows_of(layout, "Which?")
    if layout == "mmmu":
        rows[1] |= {"subfield": "x", "id": "x", "question_type": "open"}
    columns = sorted(rows[1])

    @settings(max_examples=25)
    @given(st.sampled_from(columns), st.booleans())
    def try_one(column: str, listed: bool) -> None:
        broken = [rows[0], rows[1] | {column: halved(rows[1][column], listed)}]
        with tempfile.TemporaryDirectory() as folder:
            tmp_path = Path(folder)
            path = write(tmp_path, layout, [{}, {}])
            value: Any = {"data": broken} if layout == "textvqa" else broken
            lines = "".join(json.dumps(row) + "\n" for row in broken)
            path.write_text(lines if layout == "llava lines" else json.dumps(value))
            message = failure(tmp_path, *kind_and_file(layout), image_root="im")
        assert message.startswith(f"{path.name}, row 2, column {column!r}: "), message
        assert HALF not in message

    try_one()


def halved(value: Any, listed: bool) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [value[0], value[1] | {"value": HALF}]
    if isinstance(value, list):
        return str([*value[1:], "\\ud83d"]).replace("\\\\", "\\") if listed else [*value, HALF]
    return f"{value}{HALF}"


def test_half_a_character_among_options_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dev-0.*, row \d+, column 'options': holds"):
        case("09b-options-surrogate", "mmmu", tmp_path)


@pytest.mark.parametrize("column", ["options", "answer"])
def test_half_a_character_of_a_list_in_a_text_is_named(column: str, tmp_path: Path) -> None:
    listed = "['\\ud83d', 'b']"
    row = mmmu_row("q", **{column: listed}, question_type="open")
    pq.write_table(pa.Table.from_pylist([row]), raw(tmp_path, "Art/dev-0.parquet"))
    message = failure(tmp_path, "mmmu", "*/dev-*.parquet")
    assert message == f"Art/dev-0.parquet, row 1, column {column!r}: holds no valid text" + (
        " (surrogates not allowed)"
    )


# ---------------------------------------------------------------- names that come twice


def test_a_column_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dev\.tsv: two columns are called 'A', expected one"):
        case("04j-duplicate-column", "mmbench", tmp_path)


def test_a_column_of_parquet_that_comes_twice_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([mmmu_row("q")])
    pq.write_table(
        table.append_column("answer", pa.array(["A"])), raw(tmp_path, "Art/dev-0.parquet")
    )
    message = failure(tmp_path, "mmmu", "*/dev-*.parquet")
    assert message == "Art/dev-0.parquet: two columns are called 'answer', expected one"


@pytest.mark.parametrize("layout", [name for name in FORMATS if name != "tsv"])
def test_a_key_that_comes_twice_is_refused(layout: str, tmp_path: Path) -> None:
    path = write(tmp_path, layout, rows_of(layout, "Which?"))
    key = "conversations" if layout.startswith("llava") else "question"
    path.write_text(path.read_text().replace(f'"{key}"', f'"{key}": "other", "{key}"'))
    message = failure(tmp_path, *kind_and_file(layout), image_root="im")
    assert message.startswith(path.name)
    assert f"the key '{key}' occurs twice in an object" in message


def test_names_that_are_made_unique_collide_with_none(tmp_path: Path) -> None:
    samples = case("07f-id-tilde", "llava", tmp_path)
    assert [sample.id for sample in samples] == ["x#0", "x~2#0", "x~2~2#0"]


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["x", "x~2", "x~3", "x~2~2", "dev:2", None]), max_size=8))
def test_every_row_gets_a_name_of_its_own(names: list[str | None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tmp_path = Path(folder)
        write(tmp_path, "llava", [llava_row(name, image="ab.jpg") for name in [*names, "last"]])
        samples = prepared(tmp_path, "llava", "dev.json", image_root="im")
    ids = [sample.id for sample in samples]
    assert len(ids) == len(set(ids)) == len(names) + 1
    first = [name for place, name in enumerate(names) if name and name not in names[:place]]
    plain = [name for name in first if "~" not in name and ":" not in name]
    assert {f"{name}#0" for name in plain} <= set(ids)


def test_a_file_with_a_mark_is_read(tmp_path: Path) -> None:
    assert [sample.answer for sample in case("08-bom", "textvqa", tmp_path)] == ["nokia"]

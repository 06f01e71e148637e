"""Broken raw files of every layout: one line that says where, no traceback, nothing left behind.

Each layout is tried with defects that must be refused, at a place that is known, and with
noise that may be harmless: whatever it is, it ends in a clean success or in one clear line.
"""

from __future__ import annotations

import json
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import settings

from support.properties import given, st
from support.raw_rows import (
    TSV_COLUMNS,
    b64,
    llava_row,
    mc_row,
    mmmu_pro_row,
    mmmu_row,
    picture,
    talk,
    textvqa_row,
    write_tsv,
)
from support.repository import ROOT
from vovnet import cli

NUM_DEFECTS = 60
NUM_NOISES = 60
NUM_ROWS = 3

Rows = list[dict[str, Any]]


def bomb(side: int = 60_000) -> bytes:
    """A PNG of a few bytes that claims to have `side` squared pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 64)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


BROKEN_IMAGES = [b"junk" * 30, picture()[:50], picture(kind="JPEG")[:200], bomb(), b"GIF89a" * 20]
CLIMBING = ["../a.png", "/etc/passwd", "coco/../../a.png", "..", "a\0b.png", "gone.png"]


@dataclass(frozen=True)
class Kind:
    """How the raw files of a layout are written, and which cell values must be refused."""

    file: str
    rows: Callable[[], Rows]
    write: Callable[[Path, Rows], None]
    bad: dict[str, list[Any]]
    required: tuple[str, ...]
    image_root: str | None = None


def write_textvqa(root: Path, rows: Rows) -> None:
    (root / "train_images").mkdir()
    (root / "train_images/ab.jpg").write_bytes(picture(kind="JPEG"))
    (root / "train_images/broken.jpg").write_bytes(picture(kind="JPEG")[:200])
    (root / "val.json").write_text(json.dumps({"data": rows}))


def write_llava(root: Path, rows: Rows) -> None:
    (root / "images/coco").mkdir(parents=True)
    (root / "images/coco/a.png").write_bytes(picture())
    (root / "images/coco/bomb.png").write_bytes(bomb())
    (root / "mix.json").write_text(json.dumps(rows, indent=1))


def write_choices(root: Path, rows: Rows) -> None:
    (root / "a.png").write_bytes(picture())
    (root / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_mmbench(root: Path, rows: Rows) -> None:
    columns = [name for name in TSV_COLUMNS if name in rows[0] or name not in mc_row(1)]
    write_tsv(root / "dev.tsv", rows, columns)


def write_mmmu(root: Path, rows: Rows) -> None:
    (root / "Art").mkdir()
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, root / "Art/dev-0.parquet")


KINDS = {
    "mmbench": Kind(
        file="dev.tsv",
        rows=lambda: [mc_row(number + 1) for number in range(NUM_ROWS)],
        write=write_mmbench,
        bad={
            "index": ["", "x1", "1.5", "-1", " ", "9" * 19, "9" * 5000],
            "question": ["", " \t "],
            "A": [""],
            "answer": ["Z", "AB", "b"],
            "image": [
                *("", "77", "9" * 64, "AAA" * 33, "é" * 80, "[" + "'A'" * 40, "[]" + " " * 80),
                *map(b64, BROKEN_IMAGES),
            ],
        },
        required=("index", "question", "A", "B", "image"),
    ),
    "mmmu": Kind(
        file="Art/dev-0.parquet",
        rows=lambda: [mmmu_row(f"q{number + 1}") for number in range(NUM_ROWS)],
        write=write_mmmu,
        bad={
            "id": ["", " "],
            "question": ["", "\n"],
            "options": ["", "nonsense", "['one']", "[1, 2]", "(" * 300, str(["x"] * 27)],
            "question_type": ["", "essay"],
            "answer": ["Z", "['A', 'B']"],
            "image_1": [
                *({"bytes": content, "path": None} for content in [*BROKEN_IMAGES, b""]),
                *({"bytes": None, "path": path} for path in CLIMBING),
            ],
        },
        required=("id", "question", "options", "question_type", "image_1"),
    ),
    "mmmu_pro": Kind(
        file="Art/dev-0.parquet",
        rows=lambda: [mmmu_pro_row(f"q{number + 1}") for number in range(NUM_ROWS)],
        write=write_mmmu,
        bad={
            "id": ["", " "],
            "options": ["", "nonsense", "[]", "{}", "(" * 300, str(["x"] * 27)],
            "answer": ["AB", "b", "1"],
            "image": [
                *({"bytes": content, "path": None} for content in [*BROKEN_IMAGES, b""]),
                *({"bytes": None, "path": path} for path in CLIMBING),
            ],
        },
        required=("id", "options"),
    ),
    "textvqa": Kind(
        file="val.json",
        rows=lambda: [textvqa_row(number + 1) for number in range(NUM_ROWS)],
        write=write_textvqa,
        bad={
            "question_id": [None, "", 1.5, True, [], {}],
            "question": [None, "", 3, ["what"]],
            "image_id": [None, "", 2.5, "broken", *CLIMBING],
            "answers": ["nokia", [1], {}, 3, [["a"]], [], ["a"] * 9],
            "image_classes": ["Phone", [None]],
        },
        required=("question_id", "question", "image_id"),
        image_root="train_images",
    ),
    "llava": Kind(
        file="mix.json",
        rows=lambda: [llava_row(f"r{number + 1}") for number in range(NUM_ROWS)],
        write=write_llava,
        bad={
            "id": [1.5, True, "", [], {}],
            "image": [5, {"path": "coco/a.png"}, [1], "coco", "coco/bomb.png", *CLIMBING],
            "conversations": [
                *(None, "hello", [], talk("alone"), talk("a", "b")[::-1], [1, 2], [[], []]),
                [{"from": "human", "value": 1}, {"from": "gpt", "value": "x"}],
            ],
        },
        required=("conversations",),
        image_root="images",
    ),
    "choices": Kind(
        file="test.jsonl",
        rows=lambda: [mc_row(5) | {"id": f"r{n + 1}", "image": "a.png"} for n in range(NUM_ROWS)],
        write=write_choices,
        bad={
            "id": ["", " ", [], {}],
            "question": [None, "", 3, ["what"]],
            "A": [None, "", [], {}],
            "answer": ["Z", "AB", "b", "9", {}],
            "image": [None, "", 5, [], {}, "short", *map(b64, BROKEN_IMAGES), *CLIMBING],
        },
        required=("question", "A", "image"),
    ),
}


def prepare(root: Path, layout: str) -> tuple[int, str]:
    """Exit status and standard error of `vovnet prepare`; only an unforeseen error escapes."""
    kind = KINDS[layout]
    dataset = {"format": layout, "root": str(root), "files": {"dev": kind.file}}
    if kind.image_root:
        dataset["image_root"] = kind.image_root
    value = {"results_dir": str(root / "results"), "data": {"datasets": {"toy": dataset}}}
    config = root / "config.yaml"
    config.write_text(yaml.safe_dump(value))
    arguments = ["prepare", "--config", str(config), "--dataset", "toy", "--split", "dev"]
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.main(arguments)
    return status, err.getvalue()


def refusal(root: Path, layout: str, err: str) -> str:
    """The one line of an error that names the raw file; nothing but folders is left behind."""
    assert err.startswith(f"vovnet: error: {root / KINDS[layout].file}"), err
    assert err.endswith("\n") and err.count("\n") == 1, err
    assert [path for path in (root / "results").rglob("*") if not path.is_dir()] == []
    assert not list((root / "results").rglob("*.partial"))
    return err


@st.composite
def cells(draw: st.DrawFn, layout: str) -> tuple[int, str, Any]:
    """A row from 1, one of its columns and a value that does not belong there."""
    kind = KINDS[layout]
    column = draw(st.sampled_from(sorted(kind.bad)))
    return draw(st.integers(1, NUM_ROWS)), column, draw(st.sampled_from(kind.bad[column]))


@pytest.mark.parametrize("layout", KINDS)
def test_the_unbroken_files_are_read(layout: str, tmp_path: Path) -> None:
    KINDS[layout].write(tmp_path, KINDS[layout].rows())
    assert prepare(tmp_path, layout) == (0, "")


@pytest.mark.parametrize("layout", KINDS)
def test_a_broken_cell_is_named_by_file_row_and_column(layout: str) -> None:
    tried = []

    @settings(max_examples=NUM_DEFECTS)
    @given(cells(layout))
    def try_one(cell: tuple[int, str, Any]) -> None:
        number, column, value = cell
        rows = KINDS[layout].rows()
        rows[number - 1][column] = value
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            KINDS[layout].write(root, rows)
            status, err = prepare(root, layout)
            assert status == 2, cell
            assert f", row {number}, column '{column}': " in refusal(root, layout, err)
        tried.append(cell)

    try_one()
    assert len(tried) >= NUM_DEFECTS


@pytest.mark.parametrize(
    ("layout", "column"), [(name, column) for name in KINDS for column in KINDS[name].required]
)
def test_a_missing_column_is_named(layout: str, column: str, tmp_path: Path) -> None:
    rows = KINDS[layout].rows()
    for row in rows:
        del row[column]
    KINDS[layout].write(tmp_path, rows)
    status, err = prepare(tmp_path, layout)
    assert status == 2
    assert f"column '{column}'" in refusal(tmp_path, layout, err)


@pytest.mark.parametrize("layout", KINDS)
def test_the_documentation_lists_the_columns_that_are_needed(layout: str) -> None:
    text = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{layout}`: [^|]+ \| ([^|]+) \|", text, re.MULTILINE)
    assert row and set(KINDS[layout].required) <= set(re.findall(r"`([^`]+)`", row[1]))


@pytest.mark.parametrize("layout", ["mmbench", "mmmu", "textvqa"])
def test_an_id_that_comes_twice_is_named(layout: str, tmp_path: Path) -> None:
    """LLaVA's published mix repeats ids, so its rows are told apart instead."""
    rows = KINDS[layout].rows()
    column = KINDS[layout].required[0]
    rows[2][column] = rows[0][column]
    KINDS[layout].write(tmp_path, rows)
    status, err = prepare(tmp_path, layout)
    assert status == 2
    assert f", row 3, column '{column}': the id" in refusal(tmp_path, layout, err)


@pytest.mark.parametrize("column", sorted(KINDS["mmmu"].bad))
@pytest.mark.parametrize("value", [7, 2.5, True, b"\xff", [1], {"other": "x"}])
def test_a_parquet_column_of_another_type_is_named(column: str, value: Any, tmp_path: Path) -> None:
    rows = [row | {column: value} for row in KINDS["mmmu"].rows()]
    KINDS["mmmu"].write(tmp_path, rows)
    status, err = prepare(tmp_path, "mmmu")
    assert status == 2
    number = 2 if (column, value) == ("id", 7) else 1  # a whole number is an id, but not twice
    assert f", row {number}, column '{column}': " in refusal(tmp_path, "mmmu", err)


@pytest.mark.parametrize("layout", ["textvqa", "llava"])
@pytest.mark.parametrize(
    "junk", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '"\\ud800"'], ids=range(4)
)
def test_json_that_no_parser_takes_is_one_line(layout: str, junk: str, tmp_path: Path) -> None:
    KINDS[layout].write(tmp_path, KINDS[layout].rows())
    path = tmp_path / KINDS[layout].file
    known = {"textvqa": "what brand?", "llava": "A cat."}[layout]
    path.write_text(path.read_text().replace(f'"{known}"', junk))
    status, err = prepare(tmp_path, layout)
    assert status == 2
    refusal(tmp_path, layout, err)


@st.composite
def noises(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A change of a file's bytes at some place: cut off, overwritten, doubled or put in."""
    share = draw(st.floats(0, 1))
    what = draw(st.sampled_from(["cut", "overwrite", "double", "insert", "whole"]))
    junk = draw(st.binary(min_size=1, max_size=40))
    mark = draw(st.sampled_from([b'"', b"[", b"]", b"{", b"\t", b"\n", b"\0", b"\xff", b"\\ud800"]))

    def change(content: bytes) -> bytes:
        at = int(share * len(content))
        changed = {
            "cut": content[:at],
            "overwrite": content[:at] + junk + content[at + len(junk) :],
            "double": content[:at] + content[at // 2 :],
            "insert": content[:at] + mark + content[at:],
            "whole": junk,
        }
        return changed[what]

    return change


@pytest.mark.parametrize("layout", KINDS)
def test_noise_ends_in_success_or_in_one_line(layout: str) -> None:
    refused = []

    @settings(max_examples=NUM_NOISES)
    @given(noises())
    def try_one(change: Callable[[bytes], bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            KINDS[layout].write(root, KINDS[layout].rows())
            path = root / KINDS[layout].file
            path.write_bytes(change(path.read_bytes()))
            status, err = prepare(root, layout)
            if status != 0:
                assert status == 2
                refused.append(refusal(root, layout, err))

    try_one()
    assert len(refused) >= NUM_NOISES // 2

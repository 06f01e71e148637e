"""Raw files of TextVQA and LLaVA (JSON), made by hand, with their traps and errors."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.raw_rows import (
    failure,
    llava_row,
    picture,
    prepared,
    raw,
    talk,
    textvqa_row,
)
from vovnet.config import PromptTemplates
from vovnet.core import files
from vovnet.core.errors import DataError
from vovnet.core.files import read_json, read_jsonl
from vovnet.data import samples
from vovnet.data.formats import json_rows, mmmu
from vovnet.data.formats.mmmu import parquet_rows
from vovnet.data.formats.vlmevalkit import read_tsv
from vovnet.data.prompts import question_text
from vovnet.data.samples import SampleFile

# ---------------------------------------------------------------- TextVQA


def write_textvqa(tmp_path: Path, rows: Any) -> None:
    raw(tmp_path, "train_images/ab.jpg").write_bytes(picture(kind="JPEG"))
    raw(tmp_path, "val.json").write_text(json.dumps({"data": rows}))


def test_textvqa(tmp_path: Path) -> None:
    raw(tmp_path, "train_images/cd.png").write_bytes(picture())
    rows = [
        textvqa_row(0),
        textvqa_row(1, answers=["b", "a", "a", "b", *"cdefgh"], image_classes=[]),
        {key: value for key, value in textvqa_row(2, image_id="cd").items() if key != "answers"},
    ]
    write_textvqa(tmp_path, rows)
    samples = prepared(tmp_path, "textvqa", "val.json", image_root="train_images")
    assert [sample.id for sample in samples] == ["0", "1", "2"]
    assert [sample.answer_text for sample in samples] == ["nokia", "b", ""]
    assert [sample.category for sample in samples] == ["Phone", "", "Phone"]
    assert samples[0].answers == ["x", *["nokia"] * 9]
    assert samples[2].answers == []
    assert [Path(sample.images[0].path).suffix for sample in samples] == [".jpg", ".jpg", ".png"]
    assert samples[0].question_type == "vqa"


def test_textvqa_ocr_tokens_are_shown_where_their_file_is_named(tmp_path: Path) -> None:
    """Rosetta's files: the tokens of an image by its id, some images without any."""
    raw(tmp_path, "train_images/cd.png").write_bytes(picture())
    write_textvqa(tmp_path, [textvqa_row(0), textvqa_row(1, image_id="cd")])
    tokens = [{"image_id": "ab", "ocr_tokens": ["NO", "kia"], "ocr_info": []}]
    more = {"image_root": "train_images", "ocr_files": {"dev": "ocr.json"}}
    assert "ocr.json: file not found" in failure(tmp_path, "textvqa", "val.json", **more)
    raw(tmp_path, "ocr.json").write_text(json.dumps({"data": [{"image_id": "ab"}]}))
    found = failure(tmp_path, "textvqa", "val.json", **more)
    assert found.startswith("ocr.json, row 1, column 'ocr_tokens': is missing")
    raw(tmp_path, "ocr.json").write_text(json.dumps({"data": tokens}))
    shown, plain = prepared(tmp_path, "textvqa", "val.json", **more)
    assert (shown.hint, plain.hint) == ("Reference OCR token: NO, kia", "")
    text = question_text(shown, PromptTemplates())
    assert text.splitlines()[1] == shown.hint
    assert question_text(plain, PromptTemplates()).count("\n") == 1


TEXTVQA_ERRORS = [
    ([textvqa_row(0), textvqa_row(0)], "row 2, column 'question_id': the id '0' occurs twice"),
    ([textvqa_row(0, question=None)], "row 1, column 'question': is missing"),
    ([textvqa_row(0, question=["a"])], "row 1, column 'question': expected text, got list"),
    ([textvqa_row(0, answers="nokia")], "row 1, column 'answers': expected a list of texts"),
    ([textvqa_row(0, answers=[1])], "row 1, column 'answers': expected a list of texts"),
    ([textvqa_row(0, answers=["a"] * 9)], "'answers': expected 10 human answers, got 9"),
    ([textvqa_row(0), textvqa_row(1, answers=["a"] * 11)], "val.json, row 2, column 'answers'"),
    ([textvqa_row(0, answers=[])], "row 1, column 'answers': expected 10 human answers, got 0"),
    ([textvqa_row(True)], "row 1, column 'question_id': expected text, got bool"),
    ([textvqa_row(0, image_id="../ab")], "'../ab.jpg' does not lie inside the image folder"),
    ([textvqa_row(0, image_id="/ab")], "'/ab.jpg' does not lie inside the image folder"),
    (
        [textvqa_row(0, image_id="gone")],
        "row 1, column 'image_id': image file train_images/gone.jpg",
    ),
    (["row"], "val.json, row 1: expected an object"),
    ({}, "val.json: expected an object with a list under the key 'data'"),
    ([], "val.json: the dataset is empty"),
]


@pytest.mark.parametrize(("rows", "message"), TEXTVQA_ERRORS)
def test_textvqa_errors(tmp_path: Path, rows: Any, message: str) -> None:
    write_textvqa(tmp_path, rows)
    assert message in failure(tmp_path, "textvqa", "val.json", image_root="train_images")


# ---------------------------------------------------------------- LLaVA


def write_llava(tmp_path: Path, rows: list[Any], lines: bool = False) -> None:
    raw(tmp_path, "images/coco/a.png").write_bytes(picture())
    text = "\n".join(json.dumps(row) for row in rows) if lines else json.dumps(rows, indent=1)
    raw(tmp_path, "mix.json").write_text(text)


@pytest.mark.parametrize("lines", [False, True])
def test_llava(tmp_path: Path, lines: bool) -> None:
    rows = [
        llava_row(17, conversations=talk("Where?\n<image>", "Left ", "Which colour?", "Tan")),
        llava_row("text", image=None, conversations=[{"from": "gpt", "value": "Hello"}]),
        llava_row("17"),
        llava_row(None),
        llava_row("b", conversations=talk("<image>", "What?", "Who?", "Me")),
    ]
    write_llava(tmp_path, rows, lines)
    samples = prepared(tmp_path, "llava", "mix.json", image_root="images")
    assert [(s.id, s.question, s.answer_text) for s in samples] == [
        ("17#0", "Where?", "Left"),
        ("17#1", "Which colour?", "Tan"),
        ("17~2#0", "What?", "A cat."),
        ("mix:4#0", "What?", "A cat."),
        ("b#1", "Who?", "Me"),
    ]
    assert {sample.category for sample in samples} == {"coco"}
    assert {sample.question_type for sample in samples} == {"instruction"}
    assert all(len(sample.images) == 1 for sample in samples)
    manifest = read_json(tmp_path / "results/data/toy/dev.manifest.json")
    assert manifest["skipped"] == {"row without image": 1, "turn without text": 1}
    assert (manifest["num_samples"], manifest["num_images"]) == (5, 1)


LLAVA_ERRORS = [
    ([llava_row(1), "x"], "mix.json, row 2: expected an object, got str"),
    ([llava_row(1, conversations=talk("What?"))], "row 1, column 'conversations': expected a list"),
    ([llava_row(1, conversations=None)], "row 1, column 'conversations': expected a list"),
    (
        [llava_row(1, conversations=talk("a", "b")[::-1])],
        "column 'conversations': expected turn 0 to be from 'human'",
    ),
    (
        [llava_row(1, conversations=[{"from": "human"}, {"from": "gpt", "value": "b"}])],
        "column 'conversations': expected the value of turn 0 to be text",
    ),
    ([llava_row(1.5)], "row 1, column 'id': expected text, got float"),
    ([llava_row(1, image="../../a.png")], "'../../a.png' does not lie inside the image folder"),
    ([llava_row(1, image="coco/b.png")], "image file images/coco/b.png not found"),
    ([llava_row(1, image="coco")], "image file images/coco is not readable"),
    ([llava_row(1, image=5)], "row 1, column 'image': expected text, got int"),
    ([llava_row(1, image="")], "no sample was read (skipped: 1 row without image)"),
    ([], "mix.json: the dataset is empty"),
]


@pytest.mark.parametrize(("rows", "message"), LLAVA_ERRORS)
def test_llava_errors(tmp_path: Path, rows: list[Any], message: str) -> None:
    write_llava(tmp_path, rows)
    assert message in failure(tmp_path, "llava", "mix.json", image_root="images")


def test_a_pipe_in_the_place_of_an_image_is_one_line(tmp_path: Path) -> None:
    write_llava(tmp_path, [llava_row(1, image="coco/pipe")])
    os.mkfifo(raw(tmp_path, "images/coco/pipe"))
    assert "images/coco/pipe: expected a file" in failure(
        tmp_path, "llava", "mix.json", image_root="images"
    )


def test_a_file_may_be_called_like_a_pattern(tmp_path: Path) -> None:
    write_llava(tmp_path, [llava_row(1)])
    raw(tmp_path, "mix.json").rename(raw(tmp_path, "mix[1].json"))
    assert len(prepared(tmp_path, "llava", "mix[1].json", image_root="images")) == 1


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
def test_json_array_is_read_in_chunks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(json_rows, "CHUNK_CHARS", chunk)
    rows = [{"a": 'x"]}é\\'}, {"b": [{}, [1.5, -2]]}, {}]
    for indent in (None, 2):
        path = tmp_path / "rows.json"
        path.write_text("\ufeff \n" + json.dumps(rows, indent=indent) + "\n ", encoding="utf-8")
        assert [row.values for row in json_rows.iter_rows(path)] == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}, {"b"', "row 2: not valid JSON"),
        ('[{"a": 1}', "row 2: not valid JSON (ends too early)"),
        ('[{"a": 1} {"b": 2}]', "row 2: not valid JSON (expected ',' or ']', got '{')"),
        ('[{"a": 1}] x', "row 2: not valid JSON (unexpected text after the array)"),
        ('[{"a": nope}]', "row 1: not valid JSON"),
        ("[" * 200_000, "row 1: not valid JSON (nested too deeply)"),
        ('{"a": 1}\n{', "line 2: not valid JSON"),
    ],
)
def test_broken_json_names_the_row(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        list(json_rows.iter_rows(path))
    assert message in str(caught.value)


LONG = "x" * 200


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("a.jsonl", f'{{"a": 1}}\n{{"a": "{LONG}"}}\n', read_jsonl),
        ("a.tsv", f"index\tquestion\n1\t{LONG}\n", lambda path: read_tsv(path, ("index",))),
        ("a.jsonl", f'{{"a": 1}}\n{{"a": "{LONG}"}}\n', SampleFile),
    ],
)
def test_no_line_is_read_that_could_fill_the_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str,
    read: Callable[[Path], Iterable[object]],
) -> None:
    for module in (files, samples):
        monkeypatch.setattr(module, "MAX_ROW_CHARS", 100)
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=rf"{name}, line 2: has more than 100"):
        list(read(path))


def test_rows_of_parquet_that_share_a_value_hold_it_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, size = tmp_path / "a.parquet", 1 << 22
    pq.write_table(pa.table({"id": list(map(str, range(64))), "image": [bytes(size)] * 64}), path)
    assert path.stat().st_size < size
    tracemalloc.start()
    assert sum(len(row.values["image"]) for row in parquet_rows(path, ("id",), ("image",)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * size
    monkeypatch.setattr(mmmu, "MAX_ROW_CHARS", size - 1)
    with pytest.raises(DataError, match=rf"row 1, column 'image': holds more than {size - 1:,}"):
        next(parquet_rows(path, ("id",), ("image",)))


def test_json_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "CHUNK_CHARS", 10)
    monkeypatch.setattr(json_rows, "MAX_ROW_CHARS", 100)
    path = tmp_path / "rows.json"
    path.write_text('[{"never closed ' + "x" * 10_000)
    with pytest.raises(DataError, match="row 1: not valid JSON"):
        list(json_rows.iter_rows(path))

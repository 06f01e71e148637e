"""Raw files of every layout, made by hand, with their traps and their errors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from support.raw_rows import (
    TSV_COLUMNS,
    b64,
    llava_row,
    mc_row,
    mmmu_row,
    picture,
    talk,
    textvqa_row,
    write_tsv,
)
from vovnet.config import PromptTemplates, Settings
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json, sha256_bytes
from vovnet.core.layout import Layout
from vovnet.core.records import Sample, read_samples
from vovnet.data.formats import json_rows
from vovnet.data.prepare import prepare
from vovnet.data.prompts import question_text


def settings_for(tmp_path: Path, kind: str, file: str, **more: Any) -> Settings:
    dataset = {"format": kind, "root": str(tmp_path / "raw"), "files": {"dev": file}, **more}
    value = {"results_dir": str(tmp_path / "results"), "data": {"datasets": {"toy": dataset}}}
    return Settings.model_validate(value)


def prepared(tmp_path: Path, kind: str, file: str, **more: Any) -> list[Sample]:
    layout = Layout(tmp_path / "results")
    prepare(settings_for(tmp_path, kind, file, **more), "toy", "dev", layout)
    samples = read_samples(layout.samples("toy", "dev"))
    for sample in samples:
        for image in sample.images:
            content = (layout.data("toy") / image.path).read_bytes()
            assert sha256_bytes(content) == image.sha256
    return samples


def failure(tmp_path: Path, kind: str, file: str, **more: Any) -> str:
    """The message with which preparation fails, file names shortened; nothing is left behind."""
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, kind, file, **more)
    layout = Layout(tmp_path / "results")
    assert not layout.samples("toy", "dev").exists()
    assert not layout.data_manifest("toy", "dev").exists()
    message = str(caught.value).replace(f"{tmp_path / 'raw'}/", "")
    assert "\n" not in message
    return message


def raw(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "raw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# ---------------------------------------------------------------- MMBench


def test_mmbench_keeps_every_text_as_it_stands(tmp_path: Path) -> None:
    options = {"A": "print(1)\\nprint(2)", "B": "007", "C": "NA", "D": "nan", "answer": "D"}
    rows = [
        mc_row(7, hint='two\n"lines"', category="ocr", **{"l2-category": "perception"}, **options)
    ]
    write_tsv(raw(tmp_path, "dev.tsv"), rows)
    (sample,) = prepared(tmp_path, "mmbench", "dev.tsv")
    assert sample.choices == {"A": "print(1)\\nprint(2)", "B": "007", "C": "NA", "D": "nan"}
    assert (sample.answer, sample.answer_text) == ("D", "nan")
    assert sample.hint == 'two\n"lines"'
    assert (sample.category, sample.subject) == ("ocr", "perception")
    assert (sample.id, sample.dataset, sample.split) == ("7", "toy", "dev")
    assert sample.question_type == "multiple-choice"
    assert (sample.images[0].width, sample.images[0].height) == (20, 10)


def test_mmbench_circular_replicas_share_group_and_image(tmp_path: Path) -> None:
    rows = [
        mc_row(5),
        mc_row(1_000_005, A="two", B="one", answer="A", image="5"),
        mc_row(9, image="2000009"),
        mc_row(2_000_009, image=b64(picture("blue"))),
    ]
    write_tsv(raw(tmp_path, "dev.tsv"), rows)
    samples = prepared(tmp_path, "mmbench", "dev.tsv")
    assert [(s.group, s.pass_index) for s in samples] == [("5", 0), ("5", 1), ("9", 0), ("9", 2)]
    assert samples[0].images == samples[1].images
    assert samples[2].images == samples[3].images != samples[0].images
    assert samples[1].answer_text == "two"
    images = (tmp_path / "results/data/toy/images").iterdir()
    assert len(list(images)) == 2


def test_mmbench_options_may_be_fewer_or_more_than_four(tmp_path: Path) -> None:
    columns = [*TSV_COLUMNS, "E"]
    rows = [mc_row(1), mc_row(2, C="three", D="four", E="five", answer="E")]
    write_tsv(raw(tmp_path, "dev.tsv"), rows, columns)
    samples = prepared(tmp_path, "mmbench", "dev.tsv")
    assert [list(sample.choices) for sample in samples] == [["A", "B"], list("ABCDE")]
    assert samples[1].answer_text == "five"


@pytest.mark.parametrize("with_column", [True, False])
def test_mmbench_test_split_has_no_answers(tmp_path: Path, with_column: bool) -> None:
    columns = [name for name in TSV_COLUMNS if with_column or name != "answer"]
    row = {key: value for key, value in mc_row(1).items() if key != "answer"}
    write_tsv(raw(tmp_path, "dev.tsv"), [row], columns)
    (sample,) = prepared(tmp_path, "mmbench", "dev.tsv")
    assert (sample.answer, sample.answer_text, sample.answers) == ("", "", [])


def test_tsv_rows_of_other_splits_are_left_out(tmp_path: Path) -> None:
    rows = [mc_row(1, split="dev", image="2"), mc_row(2, split="test"), mc_row(3)]
    write_tsv(raw(tmp_path, "dev.tsv"), rows)
    assert [sample.id for sample in prepared(tmp_path, "mmbench", "dev.tsv")] == ["1", "3"]
    manifest = read_json(tmp_path / "results/data/toy/dev.manifest.json")
    assert manifest["skipped"] == {"other split": 1}
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1, split="test")])
    with pytest.raises(DataError, match=r"no row has split 'dev', the file has \['test'\]"):
        prepared(tmp_path, "mmbench", "dev.tsv")


TSV_ERRORS = [
    ([mc_row(1), mc_row(1)], "dev.tsv, row 2, column 'index': the id '1' occurs twice"),
    ([mc_row(1, index="x1")], "dev.tsv, row 1, column 'index': expected a whole number, got 'x1'"),
    ([mc_row(1, question="")], "dev.tsv, row 1, column 'question': is empty"),
    ([mc_row(1, image="")], "dev.tsv, row 1, column 'image': is empty"),
    ([mc_row(1, B="")], "dev.tsv, row 1, column 'A': expected at least two options"),
    ([mc_row(1, answer="C")], "row 1, column 'answer': expected one of ['A', 'B'], got 'C'"),
    ([mc_row(1, image="8")], "'image': refers to index '8', which no row with an image has"),
    ([mc_row(1, image="é" * 80)], "dev.tsv, row 1, column 'image': not valid base64"),
    ([mc_row(1), mc_row(2, image="AAA" * 33)], "row 2, column 'image': not valid base64"),
    ([mc_row(1, image=b64(b"no image" * 20))], "column 'image': not a decodable image (unknown)"),
    ([], "dev.tsv: the dataset is empty, no sample was read"),
]


@pytest.mark.parametrize(("rows", "message"), TSV_ERRORS)
def test_mmbench_errors_name_file_row_and_column(
    tmp_path: Path, rows: list[dict[str, str]], message: str
) -> None:
    write_tsv(raw(tmp_path, "dev.tsv"), rows)
    assert message in failure(tmp_path, "mmbench", "dev.tsv")


def test_tsv_form_errors(tmp_path: Path) -> None:
    path = raw(tmp_path, "dev.tsv")
    path.write_text("index\tquestion\n1\tWhich?\n")
    assert failure(tmp_path, "mmbench", "dev.tsv") == (
        "dev.tsv: column 'A' is missing, it has ['index', 'question']"
    )
    head = "index\tquestion\tA\tB\timage\n"
    path.write_text(head + "1\tWhich?\n")
    assert failure(tmp_path, "mmbench", "dev.tsv") == "dev.tsv, row 1: expected 5 columns, got 2"
    path.write_text(head + '1\t"never closed\n')
    assert "dev.tsv, row 1: not valid TSV" in failure(tmp_path, "mmbench", "dev.tsv")
    path.write_bytes(head.encode() + b"1\t\xff\n")
    assert "dev.tsv, row 1: not valid UTF-8" in failure(tmp_path, "mmbench", "dev.tsv")


# ---------------------------------------------------------------- images


def test_truncated_images_are_refused(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG"):
        content = picture(size=(300, 300), kind=kind)
        write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1, image=b64(content[: len(content) // 2]))])
        assert "row 1, column 'image': not a decodable image" in failure(
            tmp_path, "mmbench", "dev.tsv"
        )


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1)])
    assert failure(tmp_path, "mmbench", "dev.tsv") == (
        "dev.tsv, row 1, column 'image': the image has more than 100 pixels"
    )


def test_images_keep_their_bytes_and_get_the_extension_of_their_format(tmp_path: Path) -> None:
    contents = [picture(kind=kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP")]
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(i, image=b64(c)) for i, c in enumerate(contents)])
    refs = [sample.images[0] for sample in prepared(tmp_path, "mmbench", "dev.tsv")]
    assert [ref.sha256 for ref in refs] == [sha256_bytes(content) for content in contents]
    assert [ref.path for ref in refs] == [
        f"images/{ref.sha256}.{kind}"
        for ref, kind in zip(refs, ["png", "jpg", "gif", "webp", "bmp"], strict=True)
    ]


# ---------------------------------------------------------------- MMMU


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_mmmu_parquet(tmp_path: Path) -> None:
    second = {"bytes": picture("blue"), "path": None}
    art = [mmmu_row("validation_Art_1", image_2=second, image_7=None)]
    maths = [
        mmmu_row("q1", question_type="open", options="[]", answer="['$MgS$', 'MgS']"),
        mmmu_row("q2", question_type="short-answer", options="[]", answer="[0, 1]"),
        mmmu_row("q3", answer="?"),
    ]
    write_parquet(raw(tmp_path, "Math/dev-00000-of-00001.parquet"), maths)
    write_parquet(raw(tmp_path, "Art_Theory/dev-00000-of-00001.parquet"), art)
    write_parquet(raw(tmp_path, "Art_Theory/test-00000-of-00001.parquet"), maths)
    samples = prepared(tmp_path, "mmmu", "*/dev-*.parquet")
    assert [(s.id, s.subject) for s in samples] == [
        ("validation_Art_1", "Art"),
        ("q1", "Math"),
        ("q2", "Math"),
        ("q3", "Math"),
    ]
    first, listed, interval, hidden = samples
    assert first.choices == {"A": "it's 1", "B": "2"}
    assert (first.answer, first.answer_text, first.category) == ("B", "2", "Algebra")
    assert [image.sha256 for image in first.images] == [
        sha256_bytes(picture()),
        sha256_bytes(picture("blue")),
    ]
    assert (listed.question_type, listed.answers) == ("open", ["$MgS$", "MgS"])
    assert listed.answer_text == "$MgS$"
    assert (interval.question_type, interval.answers) == ("open", ["[0, 1]"])
    assert (hidden.answer, hidden.answer_text, hidden.answers) == ("", "", [])


def test_mmmu_folder_gives_the_same_as_its_glob(tmp_path: Path) -> None:
    write_parquet(raw(tmp_path, "Math/dev-0.parquet"), [mmmu_row("q1")])
    assert prepared(tmp_path, "mmmu", ".") == prepared(tmp_path, "mmmu", "*/dev-*.parquet")


def test_mmmu_image_bytes_may_lie_in_a_file(tmp_path: Path) -> None:
    raw(tmp_path, "files/a.png").write_bytes(picture())
    rows = [mmmu_row("q1", image_1={"bytes": None, "path": "a.png"})]
    rows.append(mmmu_row("q2"))
    write_parquet(raw(tmp_path, "Math/dev-0.parquet"), rows)
    first, second = prepared(tmp_path, "mmmu", "*/dev-*.parquet", image_root="files")
    assert first.images == second.images


MMMU_ERRORS = [
    ({"options": "__import__('os').getcwd()"}, "column 'options': expected a list of texts, got"),
    ({"options": "['one']"}, "column 'options': expected two options"),
    ({"answer": "C"}, "column 'answer': expected one of ['A', 'B'], got ['C']"),
    ({"question_type": "essay"}, "column 'question_type': expected one of"),
    ({"question": 3}, "column 'question': expected text, got int"),
    ({"image_1": {"bytes": None, "path": None}}, "column 'image_1': the question has no image"),
    ({"image_1": {"bytes": b"junk", "path": None}}, "column 'image_1': not a decodable image"),
    ({"image_1": "a.png"}, "column 'image_1': expected a struct of bytes and path, got str"),
    (
        {"image_1": {"bytes": None, "path": "../a.png"}},
        "column 'image_1': '../a.png' does not lie inside the image folder",
    ),
]


@pytest.mark.parametrize(("change", "message"), MMMU_ERRORS)
def test_mmmu_errors_name_file_row_and_column(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    write_parquet(raw(tmp_path, "Math/dev-0.parquet"), [mmmu_row("q1", **change)])
    found = failure(tmp_path, "mmmu", "*/dev-*.parquet")
    assert found.startswith(f"Math/dev-0.parquet, row 1, {message}")


def test_mmmu_file_errors(tmp_path: Path) -> None:
    path = raw(tmp_path, "Math/dev-0.parquet")
    row = mmmu_row("q1")
    del row["options"]
    write_parquet(path, [row])
    assert "dev-0.parquet: column 'options' is missing" in failure(tmp_path, "mmmu", ".")
    write_parquet(path, [mmmu_row("q1"), mmmu_row("q1")])
    assert "row 2, column 'id': the id 'q1' occurs twice" in failure(tmp_path, "mmmu", ".")
    path.write_bytes(b"PAR1 not really")
    assert "not readable as parquet" in failure(tmp_path, "mmmu", ".")


def test_mmmu_tsv_takes_its_split_and_lists_of_images(tmp_path: Path) -> None:
    columns = [*TSV_COLUMNS, "id", "question_type", "subfield"]
    named = {"question_type": "multiple-choice", "subfield": "Algebra", "l2-category": "Math"}
    images = [b64(picture()), b64(picture("blue"))]
    rows = [
        mc_row(1, id="validation_Math_1", split="validation", **named),
        mc_row(2, id="dev_Math_2", split="dev", image=str(images), **named),
        mc_row(3, id="dev_Math_3", split="dev", image="1", **named),
        mc_row(4, id="dev_Math_4", split="dev", **named | {"question_type": "open"})
        | {"A": "", "B": "", "answer": "6"},
    ]
    write_tsv(raw(tmp_path, "all.tsv"), rows, columns)
    several, referring, opened = prepared(tmp_path, "mmmu", "all.tsv")
    assert (several.id, several.subject, several.category) == ("dev_Math_2", "Math", "Algebra")
    assert [image.sha256 for image in several.images] == [
        sha256_bytes(picture()),
        sha256_bytes(picture("blue")),
    ]
    assert referring.images == several.images[:1]
    assert (opened.question_type, opened.choices, opened.answers) == ("open", {}, ["6"])


# ---------------------------------------------------------------- TextVQA


def write_textvqa(tmp_path: Path, rows: Any) -> None:
    raw(tmp_path, "train_images/ab.jpg").write_bytes(picture(kind="JPEG"))
    raw(tmp_path, "val.json").write_text(json.dumps({"data": rows}))


def test_textvqa(tmp_path: Path) -> None:
    raw(tmp_path, "train_images/cd.png").write_bytes(picture())
    rows = [
        textvqa_row(0),
        textvqa_row(1, answers=["b", "a", "a", "b"], image_classes=[]),
        {key: value for key, value in textvqa_row(2, image_id="cd").items() if key != "answers"},
    ]
    write_textvqa(tmp_path, rows)
    samples = prepared(tmp_path, "textvqa", "val.json", image_root="train_images")
    assert [sample.id for sample in samples] == ["0", "1", "2"]
    assert [sample.answer_text for sample in samples] == ["nokia", "b", ""]
    assert [sample.category for sample in samples] == ["Phone", "", "Phone"]
    assert samples[0].answers == ["x", "nokia", "nokia"]
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
    ([llava_row("a"), llava_row("a"), llava_row("a~2")], "row 3, column 'id': the id 'a~2'"),
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


def test_json_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "CHUNK_CHARS", 10)
    monkeypatch.setattr(json_rows, "MAX_ROW_CHARS", 100)
    path = tmp_path / "rows.json"
    path.write_text('[{"never closed ' + "x" * 10_000)
    with pytest.raises(DataError, match="row 1: not valid JSON"):
        list(json_rows.iter_rows(path))


# ---------------------------------------------------------------- prepare


def test_prepare_is_deterministic_and_says_what_it_read(tmp_path: Path) -> None:
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1), mc_row(2, image=b64(picture("blue")))])
    settings, layout = settings_for(tmp_path, "mmbench", "dev.tsv"), Layout(tmp_path / "results")
    counts = prepare(settings, "toy", "dev", layout)
    assert counts == {"num_samples": 2, "num_images": 2, "skipped": {}}
    files = sorted(path for path in layout.data("toy").rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in files}
    assert prepare(settings, "toy", "dev", layout) == counts
    assert {path: path.read_bytes() for path in files} == before
    assert len(files) == 4
    manifest = read_json(layout.data_manifest("toy", "dev"))
    assert manifest["step"] == "prepare"
    source = (tmp_path / "raw/dev.tsv").read_bytes()
    assert manifest["inputs"]["dev.tsv"]["sha256"] == sha256_bytes(source)
    jsonl = layout.samples("toy", "dev").read_bytes()
    assert manifest["outputs"]["dev.jsonl"]["sha256"] == sha256_bytes(jsonl)
    hashes = sorted(
        image.sha256 for s in read_samples(layout.samples("toy", "dev")) for image in s.images
    )
    assert manifest["images_sha256"] == sha256_bytes("\n".join(hashes).encode())


def test_a_failed_preparation_leaves_no_manifest_of_an_earlier_one(tmp_path: Path) -> None:
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1)])
    prepared(tmp_path, "mmbench", "dev.tsv")
    write_tsv(raw(tmp_path, "dev.tsv"), [mc_row(1, answer="Z")])
    with pytest.raises(DataError):
        prepared(tmp_path, "mmbench", "dev.tsv")
    assert not Layout(tmp_path / "results").data_manifest("toy", "dev").exists()


def test_wrong_names_are_clear(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "results")
    settings = settings_for(tmp_path, "mmbench", "gone.tsv")
    with pytest.raises(ConfigError, match="no dataset named 'x', expected one of"):
        prepare(settings, "x", "dev", layout)
    with pytest.raises(ConfigError, match=r"data\.datasets\.toy\.files\.y: no such split"):
        prepare(settings, "toy", "y", layout)
    with pytest.raises(DataError, match=r"gone\.tsv: file not found \(data\.datasets\.toy\.files"):
        prepare(settings, "toy", "dev", layout)
    with pytest.raises(DataError, match="run `vovnet fetch --dataset toy`"):
        hub = settings_for(tmp_path, "mmbench", "a.tsv", source="hub", repo_id="org/bench")
        prepare(hub, "toy", "dev", layout)
    for name in ("a.tsv", "b.tsv"):
        write_tsv(raw(tmp_path, name), [mc_row(1)])
    with pytest.raises(DataError, match="split 'dev' takes one file, got"):
        prepare(settings_for(tmp_path, "mmbench", "*.tsv"), "toy", "dev", layout)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = raw(tmp_path, "dev.tsv")
    write_tsv(path, [mc_row(1)])
    digests = {name: hashlib.new(name, path.read_bytes()).hexdigest() for name in ("md5", "sha256")}
    for name, digits in digests.items():
        assert prepared(tmp_path, "mmbench", "dev.tsv", checksums={"dev": f"{name}:{digits}"})
    path.write_text(path.read_text() + "\n")
    (tmp_path / "results/data/toy/dev.jsonl").unlink()
    (tmp_path / "results/data/toy/dev.manifest.json").unlink()
    message = failure(tmp_path, "mmbench", "dev.tsv", checksums={"dev": f"md5:{digests['md5']}"})
    assert message.startswith("dev.tsv: is another version, or damaged: its md5 is ")
    with pytest.raises(ConfigError, match=r"checksums\.dev: expected <algorithm>:<digits>"):
        prepared(tmp_path, "mmbench", "dev.tsv", checksums={"dev": "crc:1"})

"""Raw files of MMBench and MMMU (TSV and parquet), made by hand, with their traps and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.raw_rows import (
    TSV_COLUMNS,
    b64,
    failure,
    mc_row,
    mmmu_pro_row,
    mmmu_row,
    picture,
    prepared,
    raw,
    write_tsv,
)
from vovnet.config import PromptTemplates
from vovnet.core.errors import DataError
from vovnet.core.files import read_json, sha256_bytes
from vovnet.data.prompts import question_text
from vovnet.evaluation.questions import score_sample

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
    ([mc_row(1, index="007"), mc_row(7)], "row 2, column 'index': the id '7' occurs twice"),
    ([mc_row(1, index="9" * 5000)], "column 'index': expected a whole number of at most 18 digits"),
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
    for content in (json.dumps([mc_row(1)] * 5000), "index\n".encode("utf-16-le").decode() * 5000):
        path.write_text(content)
        message = failure(tmp_path, "mmbench", "dev.tsv")
        assert message.startswith("dev.tsv: column 'index' is missing, it has ['")
        assert len(message) < 500
    head = "index\tquestion\tA\tB\timage\n"
    path.write_text(head + "1\tWhich?\n")
    assert failure(tmp_path, "mmbench", "dev.tsv") == "dev.tsv, row 1: expected 5 columns, got 2"
    path.write_text(head + '1\t"never closed\n')
    assert "dev.tsv, row 1: not valid TSV" in failure(tmp_path, "mmbench", "dev.tsv")
    path.write_bytes(head.encode() + b"1\t\xff\n")
    assert "dev.tsv, line 2: not valid UTF-8" in failure(tmp_path, "mmbench", "dev.tsv")


def test_the_same_rows_as_json_whatever_the_case_of_the_name(tmp_path: Path) -> None:
    """A number is the text that the TSV has; NaN and null are missing, as an empty field is."""
    more = {"A": 1.5, "B": True, "C": 3, "D": float("nan"), "answer": "C", "category": None}
    row = mc_row(1) | more | {"index": 7.0}
    raw(tmp_path, "dev.JSON").write_text(json.dumps([row]))
    (sample,) = prepared(tmp_path, "mmbench", "dev.JSON")
    assert sample.choices == {"A": "1.5", "B": "True", "C": "3"}
    assert (sample.id, sample.answer_text, sample.category) == ("7", "3", "")
    write_tsv(raw(tmp_path, "dev.TSV"), [row | {"D": "", "category": ""}], [*TSV_COLUMNS])
    (same,) = prepared(tmp_path, "mmbench", "dev.TSV")
    assert same == sample


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


def test_mmmu_pro_in_both_forms(tmp_path: Path) -> None:
    folder = "standard (10 options)"
    options = str([f"option {number}" for number in range(10)])
    row = mmmu_row("test_Art_1", options=options, answer="J", subject="Art")
    nested = row | {"id": "test_Art_2", "options": "[['A', 'B']]", "answer": "B"}
    write_parquet(raw(tmp_path, f"{folder}/test-0.parquet"), [row, nested])
    write_parquet(raw(tmp_path, "vision/test-0.parquet"), [mmmu_pro_row("test_Art_1")])
    ten, published = prepared(tmp_path, "mmmu_pro", f"{folder}/test-*.parquet")
    assert (ten.question_type, ten.answer, ten.answer_text) == ("multiple-choice", "J", "option 9")
    assert (ten.question, ten.category, len(ten.images)) == ("See <image 1>?", "Art", 1)
    assert (published.choices, published.answer) == ({"A": "['A', 'B']"}, "B")
    (seen,) = prepared(tmp_path, "mmmu_pro", "vision/test-*.parquet")
    assert (seen.id, seen.answer, len(seen.choices), len(seen.images)) == ("test_Art_1", "J", 10, 1)
    asked = question_text(seen, PromptTemplates())
    assert asked.startswith("Answer the multiple-choice question in the image.")
    assert "option" not in asked.removeprefix(seen.question), "they stand in the picture"
    assert score_sample("mmmu_pro", seen, "Answer: J").value == 1
    assert score_sample("mmmu_pro", seen, "option J", "tolerant").value == 1


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

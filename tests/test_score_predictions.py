"""`vovnet score_predictions`: published prediction files, their totals, and official verdicts."""

from __future__ import annotations

import json
import tempfile
import zlib
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import openpyxl
import pandas as pd
import pytest
from hypothesis import settings

from support.properties import given, st
from support.raw_rows import write_tsv
from support.repository import shared
from vovnet import cli
from vovnet.commands.score_predictions.totals import Scored
from vovnet.core.errors import DataError
from vovnet.core.files import read_json, write_json, write_text
from vovnet.data.formats.vlmevalkit import read_table

OPTIONS = {"A": "cat", "B": "dog", "C": "bird", "D": "fish"}
TEN = ["nokia"] * 10


def scored(capsys: pytest.CaptureFixture[str], folder: Path, *flags: object) -> str:
    """What the command prints."""
    assert cli.main(["score_predictions", str(folder), *map(str, flags)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *flags: object) -> str:
    assert cli.main(["score_predictions", str(folder), *map(str, flags)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def mmmu_rows(subject: str, *responses: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"validation_{subject}_{number}",
            "question_type": "multiple-choice",
            "answer": "B",
            "all_choices": list(OPTIONS),
            "index2ans": OPTIONS,
            "response": response,
        }
        for number, response in enumerate(responses, start=1)
    ]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "mmmu",
            [
                "mmmu/llava1.5_13b/*/output.json: MMMU, 900 rows in 30 files",
                "rows without guesses 329 of 898 36.64%",
                "rows, guesses drawn with seed 42 330 of 900 36.67%",
                ": 0 differ; 2 officially drawn at random and not compared",
            ],
        ),
        ("textvqa", ["rows 528.9 of 834 63.42%", "834 official verdicts on rows", ": 0 differ"]),
        (
            "mmbench",
            [
                "questions, every pass right 152 of 236 64.41%",
                "236 official verdicts on questions",
                ": 0 differ",
            ],
        ),
    ],
)
def test_the_reference_predictions_as_they_lie(
    name: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    printed = " ".join(scored(capsys, shared(f"conformance/{name}")).split())
    assert "DIFFERS" not in printed
    for line in lines:
        assert line in printed


def test_mmmu_in_folders_of_subjects_with_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    write_json(model / "Art/output.json", mmmu_rows("Art", "B", "(A) or (B)", "A"))
    write_json(model / "Art_Theory/output.json", mmmu_rows("Art_Theory", "hm", "dog"))
    write_json(tmp_path / "letters/total_val_output.json", {"validation_Art_1": "B"})
    gold = {f"validation_Art_{number}": {"ground_truth": "B"} for number in (1, 2, 3)}
    gold["validation_Art_1"]["question_type"] = "multiple-choice"
    write_json(tmp_path / "answer_dict_val.json", gold)
    official = [{"id": f"validation_Art_{number}", "correct": number < 3} for number in (1, 2)]
    official += [{"id": "validation_Art_3", "correct": True, "parsed": "B"}]
    official += [{"id": "validation_Art_Theory_1", "correct": False, "random_fallback": True}]
    write_jsonl(tmp_path / "model.judgements.jsonl", official)
    printed = scored(capsys, tmp_path, "--output_dir", tmp_path / "out")
    name = f"{tmp_path.name}/model/*/output.json"
    assert f"{name}: MMMU, 5 rows in 2 files" in printed
    differs = f"  DIFFERS {model}/Art/output.json, row 3, id validation_Art_3: here 0 ('A'),"
    assert f"{differs} officially 1 ('B')" in printed
    assert "4 official verdicts on rows" in printed and ": 1 differ; 1 officially drawn" in printed
    totals = {item["set"]: item for item in read_json(tmp_path / "out/totals.json")}
    parts = {total["name"]: (total["right"], total["count"]) for total in totals[name]["totals"]}
    assert parts["Art"] == (2, 3) and parts["Art and Design"][1] == 5
    assert totals[name]["differences"] == 1 and "bb0b95a" in totals[name]["follows"]
    letters = totals[f"{tmp_path.name}/letters/total_val_output.json"]
    assert letters["totals"][0] == {"name": "rows", "right": 1, "count": 1}
    rows = (tmp_path / "out/rows.jsonl").read_text().splitlines()
    assert len(rows) == 6 and json.loads(rows[0])["parsed"] == "B"
    printed = scored(capsys, model, "--parse", "tolerant")
    assert "rows without guesses" in printed and "drawn" not in printed


def test_any_of_several_letters_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = mmmu_rows("Art", "B", "(C)", "D")
    write_json(tmp_path / "output.json", [row | {"answer": ["B", "C"]} for row in rows])
    assert keval(capsys, tmp_path / "output.json") == [1, 1, 0]
    gold = {"question_type": "multiple-choice", "ground_truth": ["C", "D"]}
    letters = {f"validation_Art_{number}": letter for number, letter in enumerate("ACD")}
    write_json(tmp_path / "total_val_output.json", letters)
    write_json(tmp_path / "answer_dict_val.json", dict.fromkeys(letters, gold))
    printed = " ".join(scored(capsys, tmp_path).split())
    assert "total_val_output.json: MMMU, options read, 3 rows" in printed
    assert printed.count("rows 2 of 3") == 2


def test_mmmu_pro_holds_its_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    responses: list[Any] = ["Answer: B", "the USA is", {"error": "no"}]
    rows = [
        {"id": f"test_Art_{number}", "options": str(list(OPTIONS.values())), "answer": "B"}
        | {"response": response, "subject": "Art", "if_right": number < 2, "pred_indexs": letter}
        for number, (response, letter) in enumerate(zip(responses, "BCA", strict=True), start=1)
    ]
    write_jsonl(tmp_path / "gpt-4o_vision_direct.jsonl", rows)
    printed = scored(capsys, tmp_path)
    assert "row 2, id test_Art_2: here 0 ('A'), officially 0 ('C')" in printed
    assert "3 official verdicts on rows (from the rows): 1 differ; 1 officially drawn" in printed


def test_textvqa_and_its_form_by_llava(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold = [
        {"question_id": number, "image_id": "ab", "question": f"Brand {number}?", "answers": TEN}
        for number in (1, 2, 3)
    ]
    write_json(tmp_path / "gold/TextVQA_val.json", {"data": gold})
    prompts = [
        "Brand 1?\nReference OCR token: x\nAnswer briefly.",
        "Reference OCR token: x\nBRAND 2?\nAnswer briefly.",
        "Brand 3?\nAnswer briefly.",
    ]
    llava = [
        {"question_id": "ab", "prompt": prompt, "text": text}
        for prompt, text in zip(prompts, ["Nokia.", "a nokia", "sony"], strict=True)
    ]
    write_jsonl(tmp_path / "answers/llava.jsonl", llava)
    write_json(tmp_path / "answers/mmf.json", [{"question_id": 2, "answer": "nokia"}])
    printed = " ".join(scored(capsys, tmp_path).split())
    assert "llava.jsonl: TextVQA by LLaVA, 3 rows" in printed and "rows 2 of 3" in printed
    assert "mmf.json: TextVQA, 1 rows" in printed and "rows 1 of 1" in printed
    flags = ["--gold", tmp_path / "gold/TextVQA_val.json"]
    write_jsonl(tmp_path / "answers/llava.jsonl", [llava[0] | {"prompt": "What?"}])
    other = "llava.jsonl: passed over, row 1, column 'prompt': "
    assert f"{other}expected one of LLaVA's" in scored(capsys, tmp_path / "answers", *flags)
    write_jsonl(tmp_path / "answers/llava.jsonl", [llava[0] | {"question_id": "cd"}])
    assert f"{other}no human answers for ('cd'," in scored(capsys, tmp_path / "answers", *flags)
    message = refused(capsys, tmp_path / "answers/llava.jsonl", *flags)
    assert "llava.jsonl, row 1, column 'prompt': no human answers" in message
    gold[1] |= {"question": "brand 1?", "answers": ["sony"] * 10}
    write_json(tmp_path / "gold/TextVQA_val.json", {"data": gold})
    write_jsonl(tmp_path / "answers/llava.jsonl", [llava[0], llava[0]])
    printed = " ".join(scored(capsys, tmp_path).split())
    assert "rows 0 of 2" in printed, "the last of two annotations counts for both"
    write_jsonl(tmp_path / "answers/llava.jsonl", [llava[0]] * 3)
    assert "row 3: a second answer to '2'" in refused(capsys, tmp_path)


def mmbench_row(index: int, **more: str) -> dict[str, str]:
    return {"index": str(index), "question": "Which?", "answer": "B", "category": "ocr"} | more


def test_mmbench_and_its_form_by_llava(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["index", "question", *OPTIONS, "answer", "category", "prediction"]
    table = [mmbench_row(index, **OPTIONS) for index in (1, 1_000_001, 2, 1_000_003)]
    write_tsv(tmp_path / "MMBench_DEV.tsv", table, columns[:-1])
    predictions = ["B", "It is best described as B.", "B", "B"]
    rows = [row | {"prediction": text} for row, text in zip(table, predictions, strict=True)]
    rows[2] |= {"A": "None", "prediction": ""}  # what pandas takes for missing
    (tmp_path / "sets").mkdir()
    write_tsv(tmp_path / "sets/keval.tsv", rows, columns)
    llava = [
        {"question_id": row, "prompt": "?", "text": text} for row, text in ((1, "A"), (1, "B"))
    ]
    write_jsonl(tmp_path / "sets/llava.jsonl", [*llava, llava[0] | {"question_id": 2}])
    official = "g_index\tcircular_hit\n1\t1\n2\t1\n"
    write_text(tmp_path / "keval.groups.tsv", official)
    printed = scored(capsys, tmp_path)
    tidy = " ".join(printed.split())
    assert "keval.tsv: MMBench, 4 rows" in tidy and "rows 3 of 4" in tidy
    assert "questions, every pass right 1 of 2" in tidy, "the third lacks its first pass"
    assert "DIFFERS question 2: here 0, officially 1 (2: none of B)" in printed
    assert "llava.jsonl: MMBench by LLaVA, 2 rows" in tidy and "rows 1 of 2" in tidy
    official = [{"index": index, "hit": 1} for index in (1, 1_000_001, 2, 1_000_003)]
    (tmp_path / "keval.groups.tsv").unlink()
    write_jsonl(tmp_path / "keval.rows.jsonl", official)
    printed = scored(capsys, tmp_path)
    assert "4 official verdicts on rows" in printed and printed.count("DIFFERS") == 1
    write_jsonl(tmp_path / "keval.rows.jsonl", [*official, {"index": "9" * 5000, "hit": 1}])
    assert "  1 verdicts are on rows that are not there" in scored(capsys, tmp_path)
    write_jsonl(tmp_path / "sets/llava.jsonl", [llava[0] | {"round_id": 1}])
    assert "column 'round_id': its options were rotated" in refused(capsys, tmp_path)


def keval(capsys: pytest.CaptureFixture[str], path: Path) -> list[float]:
    """The scores of the rows of a prediction file."""
    scored(capsys, path, "--output_dir", path.parent / "out")
    rows = (path.parent / "out/rows.jsonl").read_text().splitlines()
    return [json.loads(row)["score"] for row in rows]


def write_forms(folder: Path, table: str) -> list[Path]:
    """A TSV, and the workbook and the JSON that VLMEvalKit writes of it."""
    paths = [folder / f"model.{suffix}" for suffix in ("tsv", "xlsx", "json")]
    write_text(paths[0], table)
    frame = pd.read_csv(paths[0], sep="\t")
    frame.to_excel(paths[1], index=False)
    write_text(paths[2], json.dumps(frame.to_dict("records")))
    return paths


def test_numbers_and_gaps_are_those_that_pandas_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`A` becomes 3.0, 1.5, 1.5, 1000.0 and 2.0, `B` 1.0, 2.5, 2.0 and so on, and `D` -5.0."""
    table = (
        "index\tquestion\tA\tB\tC\tD\tanswer\tprediction\tcategory\n"
        "1\tq\t3\t1\tcat\t\tA\tIt is 3 I think\tc\n"  # no 3.0 in it
        "2\tq\t1.50\t2.5\t\t\tA\t1.50 m\t\n"  # 1.5 is
        "3\tq\t1.5\t02\t\t\tB\tso 02\tNA\n"  # no 2.0 in it
        "4\tq\t1e3\t1000000\tNone\t\tA\tabout 1e3\tc\n"  # no 1000.0 in it
        "5\tq\t2\t10\tx\t-5\tD\ti say -5\tc\n"  # no -5.0 in it
    )
    for path in write_forms(tmp_path, table):
        assert keval(capsys, path) == [0, 1, 0, 0, 0], path.suffix
    mixed = table.replace("\t3\t1\tcat", "\t3\tnone\tcat").replace("\t1e3", "\t1,000")
    for path in write_forms(tmp_path, mixed.replace("about 1e3", "about 1,000")):
        assert keval(capsys, path) == [1, 1, 1, 1, 0], "a column with a text keeps all its texts"


def test_open_questions_of_mmmu_whose_answer_is_a_letter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer is option A, and a letter remains what must be chosen (Pharmacy_19)."""
    table = (
        "index\tquestion\tquestion_type\tA\tB\tanswer\tprediction\n"
        "1\tq\tshort-answer\t\t\tB\tB\n"  # chooses B, "Other Answers"
        "2\tq\tshort-answer\t\t\tC\tC\n"  # chooses A, whose text is C
        "3\tq\tshort-answer\t\t\tA\tA\n"
        "4\tq\tshort-answer\t\t\tdog\tIt is a dog.\n"  # chooses A
        "5\tq\tmultiple-choice\tx\ty\t?\tA\n"  # no letter: A
        "6\tq\tmultiple-choice\tx\ty\tb\tB\n"
        "7\tq\tmultiple-choice\tx\ty\tB\tB\n"
    )
    for path in write_forms(tmp_path, table):
        assert keval(capsys, path) == [1, 0, 1, 1, 1, 0, 1], path.suffix


def test_json_with_nan_and_numbers_beside_a_gold_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(tmp_path / "gold.tsv", "index\tA\tB\tanswer\n1\txx\tyy\tB\n2\t3\t6.5\tB\n")
    nan = float("nan")
    row = {"A": "xx", "B": "yy", "C": nan, "answer": nan, "category": nan, "prediction": "the yy"}
    rows = [{"index": 1.0} | row, {"index": 2.0} | row | {"A": 3, "B": 6.5, "prediction": 6.5}]
    write_text(tmp_path / "sets/model.JSON", json.dumps(rows))
    printed = " ".join(scored(capsys, tmp_path).split())
    assert "model.JSON: MMBench, 2 rows" in printed and "rows 2 of 2" in printed
    write_text(tmp_path / "sets/model.JSON", json.dumps([rows[0] | {"A": ["x"]}]))
    assert "row 1, column 'A': expected text, got list" in refused(capsys, tmp_path)


def test_mmbench_as_a_workbook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [mmbench_row(index, **OPTIONS) | {"prediction": "B"} for index in (1, 1_000_001)]
    table = pd.DataFrame(rows).astype({"index": int})
    table.to_excel(tmp_path / "model.xlsx", index=False)
    printed = " ".join(scored(capsys, tmp_path).split())
    assert "model.xlsx: MMBench, 2 rows" in printed
    assert "questions, every pass right 1 of 1 100.00%" in printed
    write_text(tmp_path / "model.xlsx", "no workbook")
    assert "model.xlsx, row 1: not valid XLSX (" in refused(capsys, tmp_path / "model.xlsx")
    assert "passed over: " in (message := refused(capsys, tmp_path))
    assert "model.xlsx, row 1: not valid XLSX (" in message


def test_what_a_sheet_holds_beside_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = openpyxl.Workbook()
    for cells in (["index", None, "A", None], [1, None, "cat", "note"], [None, "x"], [], [2]):
        book.active.append(cells)
    book.save(tmp_path / "model.xlsx")
    closed = []
    close = openpyxl.Workbook.close
    monkeypatch.setattr(openpyxl.Workbook, "close", lambda book: closed.append(close(book)))
    rows = [(row.number, row.values) for row in read_table(tmp_path / "model.xlsx", ("index",))]
    assert rows == [(1, {"index": "1", "A": "cat"}), (2, {"index": "2", "A": ""})]
    assert len(closed) == 1
    for error in (zlib.error("a"), RuntimeError("a"), NotImplementedError("a"), EOFError("a")):
        monkeypatch.setattr(openpyxl, "load_workbook", Mock(side_effect=error))
        with pytest.raises(DataError, match=r"model.xlsx, row 1: not valid XLSX \(a\)"):
            list(read_table(tmp_path / "model.xlsx", ()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"id": "a_b_1", "question_type": "multiple-choice", "response": "B"}]', "'index2ans'"),
        (
            '[{"id": "a_b_1", "question_type": "open", "response": "B"}]',
            "'answer': expected a gold",
        ),
        ('[{"id": "a_b_1", "options": "[", "answer": "A", "response": "B"}]', "column 'options'"),
        ('[{"question_id": 1, "answer": "B"}]', "no human answers for '1' are given, see --gold"),
        ('[{"question_id": 1, "answer": "B", "answers": ["a"]}]', "expected 10 human answers"),
        ('[{"question_id": 1, "answer": "B"}, 3]', "row 2: expected an object"),
        ('[{"index": 1, "prediction": "B", "answer": "B"}]', "column 'A': the row has no option"),
        ('[{"index": "x", "prediction": "B"}]', "column 'index': expected a whole number"),
        (f'[{{"index": "{"9" * 5000}", "prediction": "B"}}]', "number of at most 18 digits, got"),
        ('{"validation_Art_1": "B"}', "no gold answer for 'validation_Art_1' is given"),
        ("[{]", "not valid JSON"),
        ("[]", "holds no prediction file that is known"),
        ('[{"question_id": 1, "prompt": 2, "text": "\\ud800"}]', "no row 1 of MMBench's table"),
    ],
)
def test_what_cannot_be_scored_is_named(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(tmp_path / "broken.json", content)
    assert message in refused(capsys, tmp_path)


FILES: dict[str, Any] = {
    "mmmu": [*mmmu_rows("Art", "B"), {"id": "x_Art_2", "question_type": "open", "answer": "1"}],
    "pro": [{"id": "test_Art_1", "options": "['x','y']", "answer": "B", "response": "B"}],
    "textvqa": [{"question_id": 1, "answer": "a", "gt_answers": TEN, "score": 1.0}],
    "mmbench": [mmbench_row(1, prediction="B", g_index="1", **OPTIONS)],
    "llava": [{"question_id": 1, "prompt": "q", "text": "B"}],
    "image": [{"question_id": "ab", "prompt": "q\nAnswer.", "text": "B"}],
    "table": [mmbench_row(1, **OPTIONS)],
    "verdicts": [{"id": "validation_Art_1", "correct": True, "parsed": "B"}],
}
ODD = [None, "", 5, -1, 1.5, True, [], {}, ["a"], [1], [None], {"a": 1}, "\ud800", "[", "1", "None"]
ODD += [10**400, {"A": None}, [["a"]]]


@settings(max_examples=40)
@given(
    chosen=st.sets(st.sampled_from(sorted(FILES)), min_size=1),
    draws=st.lists(st.tuples(st.integers(0, 99), st.sampled_from(ODD)), max_size=3),
)
def test_any_content_is_scored_or_refused_in_one_line(
    chosen: set[str], draws: list[tuple[int, Any]]
) -> None:
    files = {name: [dict(row) for row in FILES[name]] for name in sorted(chosen)}
    cells = [(row, key) for rows in files.values() for row in rows for key in row]
    for place, value in draws:
        row, key = cells[place % len(cells)]
        row[key] = value
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in files.items():
            (Path(folder) / f"{name}.json").write_text(json.dumps(rows))
        flags = ["--output_dir", str(Path(folder) / "out")]
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as err:
            status = cli.main(["score_predictions", folder, *flags])
        assert status == 2 * err.getvalue().count("\n"), err.getvalue()


def test_verdicts_that_belong_to_no_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one.json", "two.json"):
        write_json(tmp_path / name, mmmu_rows("Art", "B"))
    write_jsonl(tmp_path / "verdicts.jsonl", [{"id": "validation_Art_1", "correct": True}])
    assert "expected verdicts on the rows of one set; name the file" in refused(capsys, tmp_path)
    (tmp_path / "verdicts.jsonl").rename(tmp_path / "two.verdicts.jsonl")
    assert scored(capsys, tmp_path).count("1 official verdicts on rows") == 1
    assert "no such file or folder" in refused(capsys, tmp_path / "none")
    write_jsonl(tmp_path / "two.verdicts.jsonl", [{"id": "validation_Art_1", "correct": "?"}])
    assert "column 'correct': expected a verdict, got '?'" in refused(capsys, tmp_path)


def test_a_second_call_does_not_read_what_the_first_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(tmp_path / "one.json", mmmu_rows("Art", "B", "A"))
    first = scored(capsys, tmp_path, "--output_dir", tmp_path / "out")
    assert "official verdicts" not in first and "passed over" not in first
    assert scored(capsys, tmp_path, "--output_dir", tmp_path / "out") == first
    own = "out/rows.jsonl: passed over, its rows are what this command wrote"
    assert own in scored(capsys, tmp_path, "--output_dir", tmp_path / "other")
    flags = ["--verdicts", tmp_path / "out/rows.jsonl"]
    assert "and not what this command wrote" in refused(capsys, tmp_path, *flags)


def test_a_gold_table_serves_rows_without_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ["index", "question", *OPTIONS, "answer", "category"]
    table = [mmbench_row(index, **OPTIONS) | {"answer": "A"} for index in (1, 2)]
    write_tsv(tmp_path / "MMBench.tsv", table, columns)
    rows = [mmbench_row(index, prediction="B", **OPTIONS) for index in (1, 2, 3, 4)]
    rows[1]["answer"] = rows[3]["answer"] = ""
    write_json(tmp_path / "sets/model.json", rows)
    printed = " ".join(scored(capsys, tmp_path).split())
    assert "model.json: MMBench, 3 rows" in printed and "rows 2 of 3" in printed
    assert "1 rows without an answer are left out, the gold table lacks them" in printed
    write_tsv(tmp_path / "other.tsv", table, columns)
    assert "rows 2 of 3" in " ".join(scored(capsys, tmp_path).split()), "the same table twice"
    write_tsv(tmp_path / "other.tsv", [table[0], table[1] | {"A": "cow"}], columns)
    message = refused(capsys, tmp_path)
    assert f"{tmp_path}/other.tsv, row 2: another gold answer to '2' than in" in message
    rows[1]["answer"] = rows[3]["answer"] = "B"
    write_json(tmp_path / "sets/model.json", rows)
    assert "rows 4 of 4" in " ".join(scored(capsys, tmp_path).split()), "none asks the tables"


@pytest.mark.parametrize(
    ("verdicts", "responses", "message"),
    [
        ([(1, "NaN")], ["B"], "row 1, column 'correct': expected a finite verdict, got 'nan'"),
        ([(1, "1e999")], ["B"], "expected a finite verdict, got '1e999'"),
        ([(1, 1), (1, 0)], ["B"], "row 2: a second verdict on 'validation_Art_1', expected one"),
        ([(1, 1)], ["B", "A"], "one.json, row 2: a second answer to 'validation_Art_1', after"),
    ],
)
def test_what_comes_twice_or_is_not_finite(
    verdicts: list[tuple[int, Any]],
    responses: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [mmmu_rows("Art", response)[0] for response in responses]
    write_json(tmp_path / "one.json", rows)
    official = [{"id": f"validation_Art_{number}", "correct": it} for number, it in verdicts]
    write_jsonl(tmp_path / "official.jsonl", official)
    assert message in refused(capsys, tmp_path)


def test_rows_of_mmmu_that_look_like_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = mmmu_rows("Art", "B")
    options = {"options": str(list(OPTIONS.values()))}
    write_json(tmp_path / "both.json", [row | options])
    del row["index2ans"]
    write_json(tmp_path / "hub.json", [row | options])
    printed = scored(capsys, tmp_path)
    assert "both.json: MMMU, 1 rows" in printed and "hub.json: MMMU, 1 rows" in printed
    assert printed.count("commit bb0b95a") == 2
    (tmp_path / "hub.json").unlink()
    verdicts = [{"id": row["id"], "ground_truth": "A", "correct": False}]
    write_json(tmp_path / "verdicts.json", verdicts)
    assert "1 official verdicts on rows" in scored(capsys, tmp_path)
    responses = [{"id": "a", "ground_truth": "A", "response": "A"}]
    write_json(tmp_path / "verdicts.json", responses)
    assert "verdicts.json: passed over, its rows are none" in scored(capsys, tmp_path)


def test_foreign_files_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in mmmu_rows("Art", "B", "B"))
    write_text(tmp_path / "lines.json", lines)
    write_text(tmp_path / "line.json", lines.split("\n")[0])
    foreign = {
        "numbers.json": ("[1, 2]", "its rows are none of the known ones"),
        "mixed.jsonl": ('{"a": 1}\n3\n', "row 2: expected an object, got int"),
        "ragged.tsv": ("a\tb\n1\n", "row 1: expected 2 columns, got 1"),
        "twice.json": ('{"a": 1, "a": 2}', "not valid JSON (the key 'a' occurs twice"),
        "broken.xlsx": ("PK", "row 1: not valid XLSX ("),
        "named.tsv": ("index\tA\tanswer\nx\tcat\tA\n", "row 1, column 'index': expected a wh"),
        "llava_bench.jsonl": (
            '{"question_id": 0, "prompt": "q", "text": "t"}\n',
            "row 1, column 'question_id': no row 0 of MMBench's table is given, see --gold",
        ),
    }
    for name, (content, _) in foreign.items():
        write_text(tmp_path / name, content)
    printed = scored(capsys, tmp_path)
    assert "/lines.json: MMMU, 2 rows" in printed and "/line.json: MMMU, 1 rows" in printed
    for name, (_, reason) in foreign.items():
        assert f"{tmp_path / name}: passed over, {reason}" in printed
        assert refused(capsys, tmp_path / name).count(name) >= 1, "the user named it"
        assert refused(capsys, tmp_path, "--gold", tmp_path / name)


def test_folders_as_a_shell_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for model in ("one", "two"):
        write_json(tmp_path / model / "Art/output.json", mmmu_rows("Art", "B"))
    write_jsonl(tmp_path / "two.jsonl", [{"id": "validation_Art_1", "correct": True}])
    printed = scored(capsys, Path(), "--output_dir", "~/out")
    assert f"{tmp_path.name}/one/*/output.json: MMMU, 1 rows" in printed
    assert "1 official verdicts on rows (from two.jsonl): 0 differ" in printed
    assert (tmp_path / "home/out/totals.json").is_file() and not (tmp_path / "~").exists()
    with pytest.raises(SystemExit):
        cli.main(["score_predictions", ".", "--output_dir", "two.jsonl"])
    assert "two.jsonl is a file, expected a folder" in capsys.readouterr().err


def test_questions_that_differ_are_listed_in_one_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: Any = Scored.pairs
    scans = Mock(side_effect=pairs.fget)
    monkeypatch.setattr(Scored, "pairs", property(scans))
    counts = set()
    for count in (1, 9):
        rows = [mmbench_row(index, prediction="B", **OPTIONS) for index in range(1, count + 1)]
        write_json(tmp_path / "model.json", rows)
        official = [{"index": row["index"], "hit": 0} for row in rows]
        write_jsonl(tmp_path / "official.jsonl", official)
        scans.reset_mock()
        assert scored(capsys, tmp_path).count("DIFFERS question") == count
        counts.add(scans.call_count)
    assert len(counts) == 1, "how often all rows are scanned does not grow with the differences"

"""`vovnet score_predictions`: published prediction files, their totals, and official verdicts."""

from __future__ import annotations

import json
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import settings

from support.properties import given, st
from support.raw_rows import write_tsv
from support.repository import shared
from vovnet import cli
from vovnet.core.files import read_json, write_json, write_text

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
    assert "llava.jsonl, row 1, column 'prompt': " in refused(capsys, tmp_path / "answers", *flags)
    write_jsonl(tmp_path / "answers/llava.jsonl", [llava[0] | {"question_id": "cd"}])
    assert "no human answers for ('cd', " in refused(capsys, tmp_path / "answers", *flags)


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
    write_jsonl(tmp_path / "sets/llava.jsonl", [llava[0] | {"round_id": 1}])
    assert "column 'round_id': its options were rotated" in refused(capsys, tmp_path)


def test_mmbench_as_a_workbook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [mmbench_row(index, **OPTIONS) | {"prediction": "B"} for index in (1, 1_000_001)]
    table = pd.DataFrame(rows).astype({"index": int})
    table.to_excel(tmp_path / "model.xlsx", index=False)
    printed = " ".join(scored(capsys, tmp_path).split())
    assert "model.xlsx: MMBench, 2 rows" in printed
    assert "questions, every pass right 1 of 1 100.00%" in printed
    write_text(tmp_path / "model.xlsx", "no workbook")
    assert "model.xlsx, row 1: not valid XLSX (" in refused(capsys, tmp_path)


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

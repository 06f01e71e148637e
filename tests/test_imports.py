"""Logs of other programs: every layout is read, joined by its ids, and judged without a model."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from support.raw_rows import write_tsv
from support.repository import ROOT
from vovnet import cli
from vovnet.config import (
    ImportedSet,
    LoggedView,
    Settings,
    imported_sets,
    load,
    merge,
    validate,
    yaml_text,
)
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json, write_json
from vovnet.core.layout import ROUTER_FIT
from vovnet.core.records import OBSERVATION_COLUMNS, read_table
from vovnet.data.importing import _places, import_set
from vovnet.data.logs import LogRow, read_log
from vovnet.data.prepare import prepare
from vovnet.data.sets import load_set
from vovnet.evaluation.columns import read_results
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.exporting import export
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies.experiments import resolve_experiment
from vovnet.report.figures import accuracy_cost
from vovnet.report.inputs import load_inputs
from vovnet.report.tables import main_table
from workflow.plan import Plan


def imported(settings: Settings, run: str) -> None:
    """Everything up to the tables of an imported run, as the DAG does it."""
    layout = settings.layout
    for dataset, item in settings.data.datasets.items():
        for split in item.files:
            prepare(settings, dataset, split, layout)
    for name in imported_sets(settings, run):
        assert import_set(TrainedModel(settings, layout, run, 0), name) == 0
    for name in settings.experiments:
        evaluate_experiment(settings, layout, name)


def test_the_example_says_what_its_source_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assigned = [f"results_dir={tmp_path}", "eval.bootstrap_samples=100"]
    settings = load([ROOT / "config/imported.yaml"], assigned)
    Plan(settings)
    imported(settings, "llava15")
    found = {}
    for name in settings.experiments:
        rows = read_results(settings.layout.eval(name) / "results.csv").set_index("dataset")
        found[name] = rows
        assert (rows["accuracy_lo"] < rows["accuracy"]).all()
        assert (rows["accuracy"] < rows["accuracy_hi"]).all()
    budgets = [name for name in found if name.startswith("tokens_")]
    for dataset, right in {
        "pope300": [79.67, 82.33, 85.33, 86.00, 86.67, 85.00],
        "textvqa200": [51.75, 52.65, 54.35, 55.60, 54.45, 54.45],
    }.items():
        accuracies = [100 * found[name].loc[dataset, "accuracy"] for name in budgets]
        assert accuracies == pytest.approx(right, abs=0.005)
        costs = [found[name].loc[dataset, "avg_vision_tokens"] for name in budgets]
        assert costs == [29, 58, 144, 288, 432, 576]
    oracle = found["oracle"].loc["pope300"]
    assert 100 * oracle["accuracy"] == pytest.approx(92.33, abs=0.005)
    assert oracle["avg_vision_tokens"] == pytest.approx(49.05, abs=0.005)

    hull_metrics(settings, settings.layout)
    inputs = load_inputs(settings, settings.layout)
    told = main_table.table(inputs).columns["Accuracy ↑ [%]"]
    assert told.tolist()[:6] == ["79.7", "82.3", "85.3", "86.0", "86.7", "85.0"]
    assert accuracy_cost.figure(inputs) is not None


# ---- layouts -----------------------------------------------------------------------------


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path, layout: str, **view: Any) -> list[LogRow]:
    """The answers of a log; what is not about a view is about the whole set."""
    columns = view.pop("columns", {})
    shown = LoggedView.model_validate({"file": str(path), "tokens": 9} | view)
    logged = ImportedSet.model_validate(
        {"layout": layout, "columns": columns, "views": {"full": shown.model_dump()}}
    )
    return list(read_log(logged, shown))


def facts(rows: Sequence[LogRow]) -> list[tuple[str, str, float | None]]:
    return [(row.name, row.text, row.score) for row in rows]


def test_both_forms_of_lmms_eval_are_read(tmp_path: Path) -> None:
    judged = {"question_id": 7, "score": 1.0, "prediction": "yes", "ground_truth": "yes"}
    new = {"doc_id": 0, "target": "yes", "filtered_resps": "Yes", "doc_hash": "74234e98afe7498f"}
    new |= {"input": "Is there a dog?\nAnswer briefly.", "pope_accuracy": judged}
    old = {"doc_id": 1, "doc": {"question": "Is there a cat?"}, "target": "no"}
    old |= {"arguments": [["Is there a cat?", {}]], "resps": [["Yes."]], "filtered_resps": ["Yes."]}
    old |= {"pope_accuracy": judged | {"score": 0.0}}
    nested = {"doc_id": 2, "filtered_resps": [["No"]], "input": "?", "pope_accuracy": 1}
    write_jsonl(tmp_path / "pope.jsonl", [new, old, nested])
    rows = read(tmp_path / "pope.jsonl", "lmms_eval", columns={"score": "pope_accuracy"})
    assert facts(rows) == [("0", "Yes", 1.0), ("1", "Yes.", 0.0), ("2", "No", 1.0)]
    assert [row.question for row in rows] == [new["input"], "Is there a cat?", "?"]
    assert facts(read(tmp_path / "pope.jsonl", "lmms_eval"))[0] == ("0", "Yes", None)


def test_vlmevalkits_tables_are_read(tmp_path: Path) -> None:
    """Numbers may be texts, also with a point, and verdicts are words."""
    columns = ["index", "question", "answer", "prediction", "score", "hit"]
    first = {"index": "3.0", "question": "A dog?", "answer": "Yes", "prediction": "yes"}
    second = {"index": "VD_0_1", "question": "A cat?", "answer": "No", "prediction": "Yes"}
    rows = [first | {"score": "True", "hit": "1"}, second | {"score": "False", "hit": "0"}]
    write_tsv(tmp_path / "a.tsv", rows, columns)
    pd.DataFrame(rows).to_excel(tmp_path / "a.xlsx", index=False)
    for name in ("a.tsv", "a.xlsx"):
        for column in ("score", "hit"):
            found = read(tmp_path / name, "vlmevalkit", columns={"score": column})
            assert facts(found) == [("3", "yes", 1.0), ("VD_0_1", "Yes", 0.0)]
        assert found[0].question == "A dog?"


def test_ids_that_come_again_are_told_apart(tmp_path: Path) -> None:
    """LLaVA's answers to POPE have the ids of three categories."""
    rows = [{"question_id": 5, "prompt": f"A {x}?", "text": x} for x in ("dog", "cat")]
    write_jsonl(tmp_path / "answers.jsonl", rows)
    assert facts(read(tmp_path / "answers.jsonl", "llava")) == [
        ("5", "dog", None),
        ("5~2", "cat", None),
    ]


def test_plain_rows_tell_their_own_cost_and_confidence(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "view", "tokens", "prediction", "lp"])
        writer.writerows([["a", "x", 4, "red", -0.5], ["a", "y", 16, "blue", -0.1]])
    columns = {"tokens": "tokens", "log_probability": "lp"}
    (row,) = read(tmp_path / "a.csv", "rows", columns=columns, tokens=None, where={"view": "y"})
    assert (row.name, row.text, row.tokens, row.flops) == ("a", "blue", 16, None)
    assert row.confidence == {"entropy": None, "margin": None, "log_probability": -0.1}


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"prediction": "x"}, {}, "row 1, column 'id': is missing"),
        ({"id": "a"}, {}, "row 1, column 'prediction': is missing"),
        (
            {"id": "a", "prediction": {}},
            {},
            "column 'prediction': expected a text or a number, got dict",
        ),
        *[
            ({"id": "a", "prediction": "x", "out": {}}, {key: name}, f"column {name!r}: is missing")
            for key, name in [
                ("prediction", "nope.text"),
                ("question", "out.text"),
                ("score", "out.right"),
                ("tokens", "out.tokens"),
                ("flops", "id.flops"),
                ("entropy", "out.entropy"),
                ("log_probability", "nope.lp"),
            ]
        ],
        (
            {"id": "a", "prediction": "x", "s": 7},
            {"score": "s"},
            "column 's': expected a score from 0 to 1, got '7'",
        ),
        (
            {"id": "a", "prediction": "x", "n": 1.5},
            {"tokens": "n"},
            "column 'n': expected a whole number",
        ),
        *[
            (
                {"id": "a", "prediction": "x", "n": number},
                {key: "n"},
                "column 'n': expected a whole number below 1e+18",
            )
            for key, number in [("tokens", 2**63), ("flops", 1e300), ("tokens", "1e25")]
        ],
        (
            {"id": "a", "prediction": "x", "n": [3, 4]},
            {"tokens": "n"},
            "column 'n': expected a text or a number, got list",
        ),
        (
            {"id": "a", "prediction": "x", "n": "1_0"},
            {"tokens": "n"},
            "column 'n': expected a number, got '1_0'",
        ),
        (
            {"id": "a", "prediction": "x", "n": "inf"},
            {"tokens": "n"},
            "column 'n': expected a number, got 'inf'",
        ),
        (
            {"id": "a", "prediction": "x", "s": "nan"},
            {"entropy": "s"},
            "column 's': expected a number, got 'nan'",
        ),
    ],
)
def test_a_row_that_cannot_be_read_is_named(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, str], message: str
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [row])
    view = {"tokens": None} if "tokens" in columns else {}
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.jsonl", "rows", columns=columns, **view)
    assert message in str(caught.value) and str(tmp_path / "a.jsonl") in str(caught.value)


# ---- joined to a set ----------------------------------------------------------------------


def suite(tmp_path: Path, **change: Any) -> Settings:
    """Two questions, and a log of each of two views."""
    questions = [{"id": "a", "question": "A dog?", "answer": "yes"}]
    questions += [{"id": "b", "question": "A cat?", "answer": "no"}]
    write_jsonl(tmp_path / "questions.jsonl", questions)
    views = {}
    for view, texts in {"log-9": ("no", "no"), "full": ("yes", "no")}.items():
        rows = [
            {"doc_id": number, "input": item["question"] + " Briefly.", "filtered_resps": text}
            for number, (item, text) in enumerate(zip(questions, texts, strict=True))
        ]
        write_jsonl(tmp_path / f"{view}.jsonl", rows)
        views[view] = {"file": str(tmp_path / f"{view}.jsonl"), "tokens": 9 if "-" in view else 90}
    base = {
        "results_dir": str(tmp_path / "results"),
        "actions": ["log-9", "full"],
        "policy": {"cost_scale": 1},
        "data": {
            "datasets": {
                "toy": {
                    "format": "open",
                    "root": str(tmp_path),
                    "files": {"test": "questions.jsonl"},
                    "columns": {"image": None},
                }
            },
            "eval_sets": {"toy": {"dataset": "toy", "split": "test"}},
        },
        "runs": {
            "theirs": {
                "imported": {"toy": {"layout": "lmms_eval", "match": "position", "views": views}}
            }
        },
        "experiments": {
            "full": {"title": "F", "run": "theirs", "policy": {"baseline_name": "always_full"}},
            "oracle": {"title": "O", "run": "theirs", "policy": {"baseline_name": "oracle"}},
        },
    }
    return validate(merge(base, change), "test")


def test_predictions_are_joined_by_position_and_scored_by_the_set(tmp_path: Path) -> None:
    settings = suite(tmp_path)
    Plan(settings)
    imported(settings, "theirs")
    layout = settings.layout
    full = read_results(layout.eval("full") / "results.csv").iloc[0]
    oracle = read_results(layout.eval("oracle") / "results.csv").iloc[0]
    assert (full["accuracy"], full["avg_vision_tokens"]) == (1.0, 90.0)
    assert (oracle["accuracy"], oracle["avg_vision_tokens"]) == (1.0, 49.5)
    table = read_table(
        layout.observations("theirs", 0, "toy") / "log-9.parquet", OBSERVATION_COLUMNS
    )
    assert table["id"].tolist() == ["a", "b"] and table["text"].tolist() == ["no", "no"]
    assert table["flops_vision_tower"].isna().all()


def test_answers_without_ids_are_counted(tmp_path: Path) -> None:
    """Each view from 0 on, whatever other rows its file has."""
    told = [("log-9", "no"), ("full", "yes"), ("log-9", "no"), ("full", "no")]
    rows = [{"shown": view, "prediction": text, "tokens": 9} for view, text in told]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    file = {"file": str(tmp_path / "rows.jsonl")}
    views = {view: file | {"where": {"shown": view}} for view in ("log-9", "full")}
    logged = {"layout": "rows", "columns": {"id": "", "tokens": "tokens"}, "views": views}
    settings = suite(tmp_path, runs={"theirs": {"imported": {"toy": logged}}})
    imported(settings, "theirs")
    full = read_results(settings.layout.eval("full") / "results.csv").iloc[0]
    assert full["accuracy"] == 1.0


def test_where_scores_come_from_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A log's own scores are no verdicts of the set's scorer; views of logs have no size."""
    logged = {"columns": {"score": "right"}}
    data = {"datasets": {"toy": {"scorer": "pope"}}}
    settings = suite(tmp_path, runs={"theirs": {"imported": {"toy": logged}}}, data=data)
    for view in ("log-9", "full"):
        path = tmp_path / f"{view}.jsonl"
        rows = [json.loads(line) | {"right": 0.5} for line in path.read_text().splitlines()]
        write_jsonl(path, rows)
    imported(settings, "theirs")
    summary = read_json(settings.layout.eval("full") / "summary.json")
    assert summary["inputs"][0]["scores_told"] == ["log-9", "full"]
    assert summary["slices"][0]["accuracy"] == 0.5
    assert "measures" not in summary["slices"][0], "they would follow from the texts"
    full = read_results(settings.layout.eval("full") / "results.csv")
    assert full["parse_fallback_rate"].isna().all(), "no text was read"
    export(settings, settings.layout, tmp_path / "out", "matrix", "theirs", 0)
    card = (tmp_path / "out/README.md").read_text()
    assert "| toy, test | the log from which it was imported | full | 2 | 50.00 | 90.0 |" in card
    manifest = settings.layout.observation_manifest("theirs", 0, "toy", "actions")
    write_json(manifest, read_json(manifest) | {"scores_told": ["log-9"]})
    export(settings, settings.layout, tmp_path / "out", "matrix", "theirs", 0, ("full", "oracle"))
    card = (tmp_path / "out/README.md").read_text()
    lines = [line for line in card.splitlines() if "| log-" in line]
    assert ["from which it was imported" in line for line in lines] == [False, True]
    (tmp_path / "suite.yaml").write_text(yaml_text(settings.model_dump()))
    assert cli.main(["inspect", "toy", "--config", str(tmp_path / "suite.yaml")]) == 0
    assert "samples: 2" in capsys.readouterr().out


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    settings = suite(tmp_path)
    prepare(settings, "toy", "test", settings.layout)
    trained = TrainedModel(settings, settings.layout, "theirs", 0)
    path = tmp_path / "full.jsonl"
    whole = path.read_text()
    path.write_text(whole.replace("A cat?", "A cow?"))
    with pytest.raises(DataError, match=r"row 2.*was asked 'A cow\? Briefly\.'"):
        import_set(trained, "toy")
    path.write_text(whole.splitlines()[0] + "\n")
    with pytest.raises(DataError, match="view 'full' has no answer to '1' of set 'toy'"):
        import_set(trained, "toy")
    first = whole.splitlines()[0] + "\n"
    path.write_text(whole + first)
    with pytest.raises(DataError, match=r"row 3.*expected one answer to '0'"):
        import_set(trained, "toy")
    assert not trained.observation_manifest("toy", "actions").exists()
    path.write_text(whole + first.replace("A dog?", "A cow?"))
    assert import_set(trained, "toy") == 1, "a further question, though its id comes again"


def test_an_id_that_two_parts_have_is_told_apart_by_its_part(tmp_path: Path) -> None:
    toy = suite(tmp_path).model_dump()["data"]["datasets"]["toy"]
    parts = [{"dataset": name, "split": "test"} for name in ("toy", "more")]
    settings = suite(tmp_path, data={"datasets": {"more": toy}, "router_fit": parts})
    for name in ("toy", "more"):
        prepare(settings, name, "test", settings.layout)
    both = load_set(settings, settings.layout, ROUTER_FIT)
    whole = ["toy/test/a", "toy/test/b", "more/test/a", "more/test/b"]
    assert [*_places(both, "id", ROUTER_FIT)] == whole
    settings = suite(tmp_path, data={"router_fit": parts[:1]})
    alone = load_set(settings, settings.layout, ROUTER_FIT)
    assert [*_places(alone, "id", ROUTER_FIT)] == ["a", "b"]


def test_an_id_of_the_set_is_taken_as_it_is_written(tmp_path: Path) -> None:
    """A file that is both the set and its log calls a question the same in both."""
    logged = {"match": "id", "columns": {"id": "id"}}
    settings = suite(tmp_path, runs={"theirs": {"imported": {"toy": logged}}})
    told = {"question": "A dog?", "answer": "yes", "filtered_resps": "yes"}
    for name in ("questions", "log-9", "full"):
        rows = [{"id": own} | told for own in ("1.0", " 2 ", 3.0, "4")]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    imported(settings, "theirs")


TOY = {"dataset": "toy", "split": "test"}
TWICE, LOG = ("64", "side-64"), {"file": "a.jsonl"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": {"theirs": {"base": True}}}, "runs.theirs.base: expected no other key"),
        (
            {"runs": {"theirs": {"imported": {"toy": {"views": {"log-9": {"tokens": -1}}}}}}},
            "runs.theirs.imported.toy.views.log-9.tokens",
        ),
        (
            {"runs": {"theirs": {"imported": {"toy": {"match": "id", "columns": {"id": ""}}}}}},
            "runs.theirs.imported.toy: columns.id: expected a column, or match: position, got ''",
        ),
        (
            {"runs": {"theirs": {"imported": {"toy": {"columns": {"prediction": ""}}}}}},
            "runs.theirs.imported.toy: columns.prediction: expected a column, or columns.score,",
        ),
        *[
            (
                {"runs": {"theirs": {"imported": {"toy": {"views": {"full": {key: 2**63}}}}}}},
                f"views.full.{key}: Input should be less than 1000000000000000000, got 9223",
            )
            for key in ("tokens", "flops")
        ],
        (
            {"runs": {"theirs": {"imported": {"toy": {"views": dict.fromkeys(TWICE, LOG)}}}}},
            "runs.theirs.imported.toy.views: expected each view once, got ['log-9', 'full', '64',",
        ),
        ({"data": {"router_fit": [TOY, TOY | {"draw_seed": 1}]}}, "got toy/test twice"),
        ({"actions": ["full", "log-9"]}, "expected 'no' first"),
        ({"actions": ["log-9", "log-5", "full"]}, "there is no log of the view 'log-5'"),
        (
            {"experiments": {"full": {"policy": {"baseline_name": "uncertainty_threshold"}}}},
            "experiments.full.policy.baseline_name: 'uncertainty_threshold' reads a text pass",
        ),
        (
            {"experiments": {"full": {"policy": {"baseline_name": "no_vision"}}}},
            "there is no log of the view 'no'",
        ),
        ({"experiments": {"full": {"mode": "live"}}}, "was run elsewhere, expected replay"),
        (
            {"runs": {"ours": {"base": True}}, "experiments": {"full": {"run": "ours"}}},
            "experiments.full.run: the view 'log-9' is known from a log alone",
        ),
        ({"data": {"datasets": {"toy": {"scorer": "nobody"}}}}, "data.datasets.toy.scorer"),
    ],
)
def test_what_a_log_cannot_tell_is_refused_before_any_job(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, SystemExit)) as caught:
        settings = suite(tmp_path, **change)
        for name in settings.experiments:
            resolve_experiment(settings, name)
        Plan(settings)
    assert message in str(caught.value)

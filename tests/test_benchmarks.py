"""The field's benchmarks in miniature, in their own layouts: prepared, asked, observed, scored."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from support.models import make_inference
from support.raw_rows import b64, picture
from support.repository import ROOT, TINY_MODEL
from vovnet.config import Settings, load, merge, validate
from vovnet.data.prepare import prepare
from vovnet.data.prompts import question_text
from vovnet.data.sets import load_set
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.evaluation.scoring.pope import measures
from vovnet.inference.observe import observe_samples

OPTIONS = {"A": "red", "B": "blue", "C": "green", "D": "black"}
CHOICE = OPTIONS | {"question": "Which colour?", "answer": "B"}
LETTERS = {"B": 1.0, "blue": 1.0, "The answer is C.": 0.0}

MINIATURES: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "chartqa": (
        {"question": "In which year?", "answer": "2010", "split": "test_human"},
        {"2010": 1.0, "1950": 1.0, "1900": 0.0},
    ),
    "docvqa_val": (
        {"question": "What date?", "answer": "['1/8/93', 'Jan 8']"},
        {"1/8/93": 1.0, "1/8/9x": 5 / 6, "March": 0.0},
    ),
    "infovqa_val": (
        {"question": "How many?", "answer": "['12%']"},
        {"12%": 1.0, "12": 2 / 3, "no": 0.0},
    ),
    "ocrbench": (
        {
            "question": "What is written?",
            "answer": "['CENTRE']",
            "category": "Regular Text Recognition",
        },
        {"It says centre.": 1.0, "center": 0.0},
    ),
    "pope": (
        {"question": "Is there a dog?", "answer": "Yes", "category": "adversarial,popular"},
        {"Yes, there is.": 1.0, "There is not": 0.0},
    ),
    "realworldqa": (CHOICE, LETTERS),
    "vstar": (CHOICE | {"category": "direct_attributes"}, LETTERS),
    "hrbench_4k": (CHOICE | {"category": "single", "cycle_category": "0"}, LETTERS),
    "hrbench_8k": (CHOICE | {"category": "cross", "cycle_category": "3"}, LETTERS),
    "mmstar": (CHOICE | {"category": "math", "l2_category": "geometry"}, LETTERS),
    "ai2d": (CHOICE, LETTERS),
    "scienceqa": (CHOICE | {"category": "biology", "hint": "Frogs jump."}, LETTERS),
    "gqa": (
        {"question": "Who is it?", "answer": "man"},
        {"Man": 1.0, "man.": 0.0, "woman": 0.0},
    ),
}
"""Evaluation set -> a row as its file has it, and what answers to it score."""

HUB: dict[str, dict[str, Any]] = {
    "chartqa": {"type": "human_test", "question": "In which year?", "answer": "2010"},
    "docvqa": {"questionId": "49153", "question": "What date?", "answers": ["1/8/93", "Jan 8"]},
    "infovqa": {"questionId": "98313", "question": "How many?", "answers": ["12%"]},
    "ocrbench": {
        "dataset": "IIIT5K",
        "question": "What is written?",
        "question_type": "Regular Text Recognition",
        "answer": ["CENTRE"],
    },
    "pope": {
        "id": "0",
        "question_id": "1",
        "question": "Is there a dog?",
        "answer": "yes",
        "category": "adversarial",
    },
    "ai2d": {"question": "Which colour?", "options": list(OPTIONS.values()), "answer": "1"},
    "scienceqa": {
        "question": "Which colour?",
        "choices": list(OPTIONS.values()),
        "answer": 1,
        "hint": "Frogs jump.",
        "category": "biology",
    },
    "hrbench_4k": CHOICE | {"index": 0, "category": "single", "image": b64(picture())},
}
"""Dataset of docs/datasets.md -> a row of the hub's parquet."""


def asked(settings: Settings, name: str) -> Questions:
    part = settings.data.eval_sets[name]
    prepare(settings, part.dataset, part.split, settings.layout)
    return load_questions(settings, settings.layout, name)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """config/detail.yaml, of files with two rows each and of the packaged model."""
    folder = tmp_path_factory.mktemp("detail")
    value = yaml.safe_load((ROOT / "config/detail.yaml").read_text())
    for name, part in value["data"]["eval_sets"].items():
        dataset = value["data"]["datasets"][part["dataset"]]
        dataset["root"] = str(folder)
        dataset.pop("checksums", None)
        row = MINIATURES[name][0]
        rows = [row | {"index": "0", "image": b64(picture())}, row | {"index": "1", "image": "0"}]
        with (folder / dataset["files"][part["split"]]).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    value["eval"]["num_workers"] = 0
    value["model"] = {"base_model_name": str(TINY_MODEL)}
    value["vision_budget"] = {}
    value["results_dir"] = str(folder / "results")
    return validate(value, "detail")


@pytest.mark.parametrize("name", MINIATURES)
def test_a_benchmark_is_prepared_asked_and_scored(suite: Settings, name: str) -> None:
    row, scores = MINIATURES[name]
    questions = asked(suite, name)
    first, second = questions.samples
    assert (first.id, second.id) == ("0", "1") and first.images == second.images
    assert first.category == row.get("category", row.get("split", ""))
    prompt = question_text(first, suite.data.prompt_template)
    wanted = [row["question"], *(row[key] for key in ("A", "B", "D", "hint") if key in row)]
    assert all(text in prompt for text in wanted) and row["answer"] not in prompt.split("\n")
    for text, score in scores.items():
        assert questions.score([text, text])[0].tolist() == pytest.approx([score, score])


def test_miniatures_are_of_every_benchmark_of_the_suite(suite: Settings) -> None:
    assert set(MINIATURES) == set(suite.data.eval_sets)
    layered = load([ROOT / "config/detail.yaml", ROOT / "config/detail_qwen2_5_vl.yaml"])
    assert layered.vision_budget.factor == 28
    assert layered.data == load([ROOT / "config/detail.yaml"]).data


def test_every_benchmark_is_observed(suite: Settings) -> None:
    """By the tiny model, whose answers mean nothing, in one go."""
    every = [asked(suite, name) for name in suite.data.eval_sets]
    samples = [load_set(suite, suite.layout, part.name)[0] for part in every]
    small = suite.model_copy(update={"eval": suite.eval.model_copy(update={"max_new_tokens": 2})})
    observed = observe_samples(make_inference(small), suite.layout, samples, suite.actions)
    for view in suite.actions:
        answers = observed.view(view)
        tokens = answers["vision_tokens"]
        assert (tokens == 0).all() if view == "no" else (tokens > 0).all()
        for questions, text in zip(every, answers["text"], strict=True):
            (value, _), _ = questions.score([text, text])
            assert 0 <= value <= 1


def test_the_hubs_forms_give_the_same_questions(suite: Settings, tmp_path: Path) -> None:
    (block,) = re.findall(
        r"```yaml\n# the hub's forms\n(.*?)```", (ROOT / "docs/datasets.md").read_text(), re.DOTALL
    )
    datasets = yaml.safe_load(block)["data"]["datasets"]
    assert set(datasets) == set(HUB)
    sets = {}
    for name, dataset in datasets.items():
        dataset |= {"source": "local", "root": str(tmp_path / name)}
        ((split, file),) = dataset["files"].items()
        path = tmp_path / name / file.replace("*", "00000-of-00001")
        path.parent.mkdir(parents=True)
        row = {"image": {"bytes": picture(), "path": None}} | HUB[name]
        pq.write_table(pa.Table.from_pylist([row]), path)
        sets[name] = {"dataset": name, "split": split}
    value = {"results_dir": str(tmp_path), "data": {"datasets": datasets, "eval_sets": sets}}
    settings = validate(merge({"actions": suite.actions}, value), "hub")
    for name in datasets:
        table = name if name in MINIATURES else f"{name}_val"
        (sample,) = asked(settings, name).samples
        row, scores = MINIATURES[table]
        assert sample.question == row["question"] and len(sample.images) == 1
        assert not sample.choices or sample.choices == OPTIONS
        questions = load_questions(settings, settings.layout, name)
        for text, score in scores.items():
            assert questions.score([text])[0].tolist() == pytest.approx([score])


def test_pope_is_measured_by_split(suite: Settings) -> None:
    """Of three questions, one in both splits: yes rightly, yes wrongly, no wrongly."""
    first, second = asked(suite, "pope").samples
    samples = [
        first,
        second.model_copy(update={"answer": "No", "category": "popular"}),
        first.model_copy(update={"category": "adversarial"}),
    ]
    found = measures(samples, ["Yes", "yes", "no"])
    assert list(found) == ["all", "adversarial", "popular"]
    assert found["all"] == pytest.approx(
        {"accuracy": 1 / 3, "precision": 0.5, "recall": 0.5, "f1": 0.5, "yes_rate": 2 / 3}
    )
    assert found["popular"] == pytest.approx(
        {"accuracy": 0.5, "precision": 0.5, "recall": 1.0, "f1": 2 / 3, "yes_rate": 1.0}
    )

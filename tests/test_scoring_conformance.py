"""Every row of the reference predictions gets the verdict of the official evaluators."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from support.repository import shared
from support.samples import make_sample
from vovnet.core.records import Sample
from vovnet.evaluation.questions import score_sample
from vovnet.evaluation.scoring.mmbench import infer_choice
from vovnet.evaluation.scoring.mmmu import open_is_right, parse_choice, parse_open
from vovnet.evaluation.scoring.textvqa import normalise


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def sample(name: str, **values: Any) -> Sample:
    kind = {} if values.get("choices") else {"question_type": "open"}
    return make_sample(name, **(kind | values))


def test_mmmu_judgements() -> None:
    folder = shared("conformance/mmmu")
    verdicts = {row["id"]: row for row in lines(folder / "llava1.5_13b.judgements.jsonl")}
    gold = json.loads((folder / "answer_dict_val.json").read_text(encoding="utf-8"))
    outputs = [
        row
        for path in sorted((folder / "llava1.5_13b").glob("*/output.json"))
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]
    assert len(outputs) == len(verdicts) == 900
    guesses = 0
    for row in outputs:
        verdict, answer = verdicts[row["id"]], gold[row["id"]]["ground_truth"]
        if verdict["question_type"] == "multiple-choice":
            item = sample(row["id"], choices=row["index2ans"], answer=answer)
            parsed = parse_choice(row["response"], row["index2ans"])
            assert (parsed is None) == verdict["random_fallback"], row["id"]
            guesses += parsed is None
            if parsed is not None:
                assert parsed == verdict["parsed"], row["id"]
                assert score_sample("mmmu", item, row["response"]).value == verdict["correct"]
        else:
            answers = answer if isinstance(answer, list) else [answer]
            item = sample(row["id"], answer=answers[0], answers=answers)
            assert score_sample("mmmu", item, row["response"]).value == verdict["correct"], row
    assert guesses == 2  # the official code draws these at random


def test_mmmu_parser_vectors() -> None:
    for row in lines(shared("conformance/mmmu/parser_vectors.jsonl")):
        if row["fn"] == "parse_multi_choice_response":
            assert parse_choice(row["response"], row["index2ans"]) == row["expected"], row
        else:
            parsed = parse_open(row["response"])
            assert sorted(map(repr, parsed)) == sorted(row["parsed_sorted"]), row
            gold = row["gold"] if isinstance(row["gold"], list) else [row["gold"]]
            assert open_is_right(parsed, gold) == row["expected"], row


def test_textvqa_scores_and_normalised_texts() -> None:
    rows = lines(shared("conformance/textvqa/predictions_sample.jsonl"))
    assert len(rows) == 834
    for row in rows:
        item = sample(str(row["question_id"]), answers=row["answers"])
        result = score_sample("textvqa", item, row["prediction"])
        assert result.extracted == row["normalised_prediction"], row
        assert result.value == pytest.approx(row["score"], abs=1e-9), row


def test_textvqa_normalisation_vectors() -> None:
    for row in lines(shared("conformance/textvqa/normalisation_vectors.jsonl")):
        assert normalise(row["in"]) == row["out"], row


def test_mmbench_rows_and_circular_groups() -> None:
    folder = shared("conformance/mmbench")
    with (folder / "predictions_sample.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    with (folder / "expected_groups.tsv").open(encoding="utf-8", newline="") as file:
        groups = {row["g_index"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert (len(rows), len(groups)) == (879, 236)
    hits: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        choices = {letter: row[letter] for letter in "ABCD" if row[letter]}
        item = sample(row["index"], choices=choices, answer=row["answer"])
        hits[row["g_index"]].append(score_sample("mmbench", item, row["prediction"]).value)
    for name, group in groups.items():
        assert len(hits[name]) == int(group["n_passes"])
        assert sum(hits[name]) == int(group["n_pass_hits"]), name
        assert min(hits[name]) == int(group["circular_hit"]), name


def test_mmbench_option_inference() -> None:
    for row in lines(shared("conformance/mmbench/can_infer_vectors.jsonl")):
        expected = row["vlmevalkit_e8e78f0"] or None
        assert infer_choice(row["prediction"], row["choices"]) == expected, row

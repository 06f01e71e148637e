"""Real rows of the public datasets, in their original file layouts.

Every file of rows is read, and every stored image is held against the bytes it came from.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest
from PIL import Image

from support.repository import shared
from vovnet.config import PromptTemplates, Settings
from vovnet.core.errors import DataError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.format_prompts import LETTER, SHORT_ANSWER
from vovnet.data.formats.json_rows import iter_rows
from vovnet.data.formats.llava import Kind, kind_of
from vovnet.data.image_store import ImageStore
from vovnet.data.prepare import prepare
from vovnet.data.prompts import question_text
from vovnet.data.samples import read_samples
from vovnet.data.sets import image_paths


def settings_for(
    tmp_path: Path, kind: str, root: Path, split: str, file: str, **more: Any
) -> Settings:
    dataset = {"format": kind, "root": str(root), "files": {split: file}, **more}
    value = {"results_dir": str(tmp_path), "data": {"datasets": {kind: dataset}}}
    return Settings.model_validate(value)


def prepared(
    tmp_path: Path, kind: str, root: Path, split: str, file: str, **more: Any
) -> list[Sample]:
    """Prepare, and hold every stored image against its recorded size and the source's bytes."""
    settings, layout = settings_for(tmp_path, kind, root, split, file, **more), Layout(tmp_path)
    prepare(settings, kind, split, layout)
    samples = list(read_samples(layout.samples(kind, split)))
    for sample in samples:
        assert sample.images
        for ref, path in zip(sample.images, image_paths(settings, layout, sample), strict=True):
            with Image.open(path) as image:
                assert image.size == (ref.width, ref.height)
            assert hashlib.sha256(path.read_bytes()).hexdigest() == ref.sha256
    return samples


def shown(samples: list[Sample]) -> set[str]:
    """SHA-256 of every image that the samples show."""
    return {ref.sha256 for sample in samples for ref in sample.images}


def hashed(contents: Iterable[bytes]) -> set[str]:
    return {hashlib.sha256(content).hexdigest() for content in contents}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_mmbench_rows(tmp_path: Path) -> None:
    root = shared("samples/mmbench/derived")
    file = "MMBench_DEV_EN_sample_vlmevalkit_style.tsv"
    samples = prepared(tmp_path, "mmbench", root, "dev", file)
    assert len(samples) == 39
    groups = {sample.group for sample in samples}
    assert len(groups) == 10
    assert {len([s for s in samples if s.group == group]) for group in groups} == {3, 4}
    by_id = {sample.id: sample for sample in samples}
    assert "\\n" in by_id["1"].choices["A"] and "\n" not in by_id["1"].choices["A"]
    assert by_id["318"].hint.startswith("The diagram below is a model of two solutions.")
    assert list(by_id["318"].choices) == ["A", "B", "C"]
    assert by_id["1000001"].images == by_id["1"].images
    assert by_id["718"].answer_text == "Steve Jobs"
    assert by_id["21"].category == "action_recognition"
    assert by_id["21"].subject == "finegrained_perception (cross-instance)"
    for group in groups:
        assert len({sample.answer_text for sample in samples if sample.group == group}) == 1
    with (root / "mmbench_dev_sample_legacy_style.tsv").open(encoding="utf-8", newline="") as table:
        encoded = [row["image"] for row in csv.DictReader(table, delimiter="\t")]
    assert len(encoded) == 39
    assert shown(samples) == hashed(base64.b64decode(text) for text in encoded)


def test_mmbench_official_samples(tmp_path: Path) -> None:
    """The twenty samples that the authors show: JSON rows, each with an image file."""
    root = shared("samples/mmbench")
    samples = prepared(tmp_path, "mmbench", root, "dev", "official_samples_20.json")
    rows = json.loads((root / "official_samples_20.json").read_text(encoding="utf-8"))
    assert [sample.id for sample in samples] == [str(row["index"]) for row in rows]
    assert [sample.question for sample in samples] == [row["question"] for row in rows]
    assert [sample.answer_text for sample in samples] == [row[row["answer"]] for row in rows]
    assert samples[0].choices["A"].startswith("for x in range(6):\n     print(x)")
    paths = [root / row["image_file"] for row in rows]
    assert shown(samples) == hashed(path.read_bytes() for path in paths)


def test_mmbench_legacy_rows_give_the_same_samples(tmp_path: Path) -> None:
    root = shared("samples/mmbench/derived")
    new = prepared(
        tmp_path / "a", "mmbench", root, "dev", "MMBench_DEV_EN_sample_vlmevalkit_style.tsv"
    )
    legacy = prepared(tmp_path / "b", "mmbench", root, "dev", "mmbench_dev_sample_legacy_style.tsv")
    assert new == legacy


def test_mmmu_parquet_and_tsv_rows_agree(tmp_path: Path) -> None:
    root = shared("samples/mmmu/derived")
    for split, count in (("dev", 5), ("validation", 3)):
        hub = prepared(tmp_path / "a", "mmmu", root, split, f"*/{split}-*.parquet")
        tsv = prepared(tmp_path / "b", "mmmu", root, split, "MMMU_DEV_VAL_8rows.tsv")
        assert hub == tsv
        assert len(hub) == count
        assert {sample.subject for sample in hub} == {"Accounting"}
    first = hub[0]
    assert first.id == "validation_Accounting_1"
    assert first.choices == {"A": "$6", "B": "$7", "C": "$8", "D": "$9"}
    assert (first.answer, first.answer_text) == ("B", "$7")
    assert first.category == "Managerial Accounting"
    table = pq.read_table(root / "Accounting/validation-00000-of-00001.parquet").to_pylist()
    columns = [f"image_{number}" for number in range(1, 8)]
    images = [row[column]["bytes"] for row in table for column in columns if row[column]]
    assert shown(hub) == hashed(images)


@pytest.mark.parametrize(("split", "count"), [("dev", 5), ("validation", 3)])
def test_mmmu_results_of_vlmevalkit_hold_the_rows_of_its_tsv(
    tmp_path: Path, split: str, count: int
) -> None:
    """Rows under `annotation`, with the bare NaN of a field that is empty."""
    root = shared("samples/mmmu")
    file = "mmmu_dev_val_8rows_vlmevalkit_tsv_fields.jsonl"
    assert "NaN" in (root / file).read_text(encoding="utf-8")
    results = prepared(tmp_path / "a", "mmmu", root, split, file)
    tsv = prepared(tmp_path / "b", "mmmu", root / "derived", split, "MMMU_DEV_VAL_8rows.tsv")
    assert results == tsv
    assert len(results) == count


def test_mmmu_pro_rows(tmp_path: Path) -> None:
    """Options as a list, up to ten; one question has five images, which its options name."""
    root = shared("samples/mmmu/mmmu_pro_tool")
    samples = prepared(tmp_path, "mmmu_pro", root, "test", "data.jsonl")
    rows = lines(root / "data.jsonl")
    assert len(samples) == len(rows) == 21
    assert [list(sample.choices.values()) for sample in samples] == [row["options"] for row in rows]
    assert max(len(sample.choices) for sample in samples) == 10
    (several,) = [sample for sample in samples if len(sample.images) > 1]
    row = rows[samples.index(several)]
    assert len(several.images) == 5
    assert any("<image 2>" in text for text in several.choices.values())
    paths = [root / row[f"image_{number}"] for number in range(1, 6)]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert [ref.sha256 for ref in several.images] == digests
    assert several.answer_text == several.choices[row["answer"]]


@pytest.mark.parametrize(
    ("split", "folder"),
    [("train", "train_images"), ("val", "train_images"), ("test", "test_images")],
)
def test_textvqa_rows(tmp_path: Path, split: str, folder: str) -> None:
    root = shared("samples/textvqa/dummy_data")
    file = f"TextVQA_0.5.1_{split}.json"
    samples = prepared(tmp_path, "textvqa", root, split, file, image_root=folder)
    assert len(samples) == 5
    assert all(not sample.hint for sample in samples)
    raw = json.loads((root / file).read_text())["data"]
    stored = [root / folder / f"{row['image_id']}.jpg" for row in raw]
    assert shown(samples) == hashed(path.read_bytes() for path in stored)
    assert len(stored) > len(set(stored))  # questions share images
    widths = [(row["image_width"], row["image_height"]) for row in raw]
    assert [(s.images[0].width, s.images[0].height) for s in samples] == widths
    if split == "test":
        assert all(not sample.answers and not sample.answer_text for sample in samples)
    else:
        assert all(len(sample.answers) == 10 for sample in samples)
    if split == "train":
        assert [sample.answer_text for sample in samples[:2]] == ["nokia", "lape"]
        assert samples[0].category == "Belt"


def test_llava_demo_rows(tmp_path: Path) -> None:
    root = shared("samples/llava/qwen_demo")
    samples = prepared(tmp_path, "llava", root, "train", "single_images.json")
    assert [sample.answer_text for sample in samples] == ["Yes", "6", "2014"]
    assert samples[0].question == "Is the value of Favorable 38 in 2015?"
    assert samples[0].id == "single_images:1#0"
    assert samples[0].images == samples[1].images
    assert {sample.category for sample in samples} == {"demo"}
    rows = json.loads((root / "single_images.json").read_text(encoding="utf-8"))
    assert all(row["conversations"][0]["value"].endswith("<image>") for row in rows)
    assert all("<image>" not in sample.question for sample in samples)
    assert shown(samples) == hashed((root / row["image"]).read_bytes() for row in rows)


def test_llava_question_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that come three times, replies under `output`, and questions without a reply."""
    root = shared("samples/llava")
    image = (root / "qwen_demo/demo/images/10149.png").read_bytes()
    monkeypatch.setattr(ImageStore, "add_file", lambda store, *place: store.add(image, place[-1]))
    file = "coco2014_val_gpt4_qa_30x3.jsonl"
    answered = prepared(tmp_path / "a", "llava", root, "train", file)
    assert [sample.answer_text for sample in answered] == [
        row["output"] for row in lines(root / file)
    ]
    assert [sample.id for sample in answered[:3]] == [
        "000000525439#0",
        "000000525439~2#0",
        "000000525439~3#0",
    ]
    questions = prepared(tmp_path / "b", "llava", root, "test", "qa90_questions.jsonl")
    assert len(answered) == len(questions) == 90
    assert {sample.category for sample in questions} == {"conv", "detail", "complex"}
    assert all(not sample.answer_text for sample in questions)


def test_llava_mix_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 1,000 rows come without images, so one image stands for all of them."""
    root = shared("samples/llava")
    file = "llava_v1_5_mix1k.jsonl"
    image = (root / "qwen_demo/demo/images/10149.png").read_bytes()
    monkeypatch.setattr(ImageStore, "add_file", lambda store, *place: store.add(image, place[-1]))
    everything = [*get_args(Kind)]
    samples = prepared(tmp_path, "llava", root, "train", file, kinds=everything)
    assert len(samples) == 10938 // 2
    assert Counter(kind_of(sample.question) for sample in samples) == {
        "short_answer": 406 + 2596,  # rows, and later turns to which their prompt holds
        "choices": 102 + 3,
        "caption": 32,
        "conversation": 560,
        "region": 877,
        "box": 893,
    }
    rows = [json.loads(line) for line in (root / file).read_text(encoding="utf-8").splitlines()]
    assert len({sample.id.partition("#")[0] for sample in samples}) == len(rows)
    assert {sample.category for sample in samples} == {"coco", "vg", "gqa", "ocr_vqa", "textvqa"}
    assert all("<image>" not in sample.question for sample in samples)
    assert samples[0].id == "17#0"
    assert samples[0].question.startswith("On which side is the white device?\nAnswer the")
    for row, conversation in zip(rows, _conversations(samples), strict=True):
        first = row["conversations"][0]["value"].replace("<image>", "").strip()
        for sample in conversation:
            formats = [text for text in (SHORT_ANSWER, LETTER) if sample.question.endswith(text)]
            assert formats == [text for text in (SHORT_ANSWER, LETTER) if first.endswith(text)]
            assert all(sample.question.count(text) == 1 for text in formats)
    array = tmp_path / "array.json"
    array.write_text(json.dumps(rows), encoding="utf-8")
    assert [row.values for row in iter_rows(array)] == rows


def _conversations(samples: list[Sample]) -> list[list[Sample]]:
    """The samples of each row, in the order of the rows."""
    return [list(own) for _, own in groupby(samples, lambda sample: sample.id.partition("#")[0])]


def test_llava_mix_as_it_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without coordinates, with at most three turns, and with options in place of letters."""
    root = shared("samples/llava")
    image = (root / "qwen_demo/demo/images/10149.png").read_bytes()
    monkeypatch.setattr(ImageStore, "add_file", lambda store, *place: store.add(image, place[-1]))
    options = {"max_turns": 3, "option_texts": True, "earlier_turns": True}
    samples = prepared(tmp_path, "llava", root, "train", "llava_v1_5_mix1k.jsonl", **options)
    skipped = read_json(tmp_path / "data/llava/train.manifest.json")["skipped"]
    assert (skipped["turn of kind box"], skipped["turn of kind region"]) == (893, 877)
    assert len(samples) + skipped["turn beyond max_turns"] == 5469 - 893 - 877
    conversations = _conversations(samples)
    assert max(map(len, conversations)) == 3
    for conversation in conversations:
        names = {sample.conversation for sample in conversation}
        assert names == {conversation[0].id.partition("#")[0] if len(conversation) > 1 else ""}
        for before, after in pairwise(conversation):
            assert before.answer_text in after.question
    asked = [sample for sample in samples if sample.choices]
    assert len(asked) == 105
    for sample in asked:
        assert sample.question_type == "multiple-choice"
        assert sample.answer_text == sample.choices[sample.answer]
        text = question_text(sample, PromptTemplates())
        assert text.endswith("Answer with the option's text.") and LETTER not in text


def test_llava_mix_without_its_images_says_which_is_missing(tmp_path: Path) -> None:
    root = shared("samples/llava")
    settings = settings_for(tmp_path, "llava", root, "train", "llava_v1_5_mix1k.jsonl")
    with pytest.raises(DataError, match=r"row 1, column 'image': image file .*gqa/images/17\.jpg"):
        prepare(settings, "llava", "train", Layout(tmp_path))

"""Raw datasets made by hand, each row and picture correct as it stands, and their preparation."""

from __future__ import annotations

import base64
import csv
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vovnet.config import Settings
from vovnet.core.errors import DataError
from vovnet.core.files import sha256_bytes
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.prepare import prepare
from vovnet.data.samples import read_samples

TSV_COLUMNS = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image"]
TSV_COLUMNS += ["l2-category", "split"]


def picture(colour: str = "red", size: tuple[int, int] = (20, 10), kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, format=kind)
    return buffer.getvalue()


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def write_tsv(path: Path, rows: list[dict[str, str]], columns: list[str] = TSV_COLUMNS) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)


def mc_row(index: int, /, **more: str) -> dict[str, str]:
    row = {"index": str(index), "question": "Which?", "A": "one", "B": "two", "answer": "B"}
    return row | {"image": b64(picture())} | more


def mmmu_row(name: str, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": name,
        "question": "See <image 1>?",
        "options": "['it\\'s 1', \"2\"]",
        "answer": "B",
        "question_type": "multiple-choice",
        "subfield": "Algebra",
        "image_1": {"bytes": picture(), "path": "a.png"},
    }
    return row | more


def mmmu_pro_row(name: str, **more: Any) -> dict[str, Any]:
    """A row of the vision form, whose question stands in the picture."""
    options = str([f"option {letter}" for letter in "ABCDEFGHIJ"])
    row: dict[str, Any] = {"id": name, "options": options, "answer": "J", "subject": "Art"}
    return row | {"image": {"bytes": picture(), "path": "a.png"}} | more


def textvqa_row(number: int, **more: Any) -> dict[str, Any]:
    row = {"question": "what brand?", "image_id": "ab", "question_id": number}
    return row | {"image_classes": ["Phone", "Mirror"], "answers": ["x", *["nokia"] * 9]} | more


def talk(*texts: str) -> list[dict[str, str]]:
    roles = ("human", "gpt")
    return [{"from": roles[i % 2], "value": text} for i, text in enumerate(texts)]


def llava_row(name: Any, **more: Any) -> dict[str, Any]:
    row = {"id": name, "image": "coco/a.png", "conversations": talk("<image>\nWhat?", "A cat.")}
    return {key: value for key, value in (row | more).items() if value is not None}


def settings_for(tmp_path: Path, kind: str, file: str, **more: Any) -> Settings:
    dataset = {"format": kind, "root": str(tmp_path / "raw"), "files": {"dev": file}, **more}
    value = {"results_dir": str(tmp_path / "results"), "data": {"datasets": {"toy": dataset}}}
    return Settings.model_validate(value)


def prepared(tmp_path: Path, kind: str, file: str, **more: Any) -> list[Sample]:
    layout = Layout(tmp_path / "results")
    prepare(settings_for(tmp_path, kind, file, **more), "toy", "dev", layout)
    samples = list(read_samples(layout.samples("toy", "dev")))
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

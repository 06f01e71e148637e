"""Rows and pictures of raw datasets, made by hand, each correct as it stands."""

from __future__ import annotations

import base64
import csv
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

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


def textvqa_row(number: int, **more: Any) -> dict[str, Any]:
    row = {"question": "what brand?", "image_id": "ab", "question_id": number}
    return row | {"image_classes": ["Phone", "Mirror"], "answers": ["x", "nokia", "nokia"]} | more


def talk(*texts: str) -> list[dict[str, str]]:
    roles = ("human", "gpt")
    return [{"from": roles[i % 2], "value": text} for i, text in enumerate(texts)]


def llava_row(name: Any, **more: Any) -> dict[str, Any]:
    row = {"id": name, "image": "coco/a.png", "conversations": talk("<image>\nWhat?", "A cat.")}
    return {key: value for key, value in (row | more).items() if value is not None}

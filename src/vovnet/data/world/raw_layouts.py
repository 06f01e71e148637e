"""The raw layouts in which the synthetic world is written: those of four real datasets.

The name of a question's template stands where each layout has its category, so that a router
can be fitted per template.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from vovnet.config import DatasetSettings, PromptTemplates
from vovnet.core.errors import ConfigError
from vovnet.core.files import atomic_path, write_bytes, write_json
from vovnet.core.records import Sample
from vovnet.data.formats.mmbench import CIRCULAR_STEP
from vovnet.data.prompts import question_text
from vovnet.data.raw_files import hub_pattern, is_pattern
from vovnet.data.world import questions as world

LETTERS = "ABCDEFGH"

EVALUATION_SPLITS = ("dev", "val", "validation", "test")
SUBJECTS = {"text": "Numbers", "prior": "Nature", "coarse": "Shapes", "fine": "Print"}
OPEN_SHARE = 0.1
"""The share of MMMU's questions that have no options."""
MARKED_SHARE = 0.3
"""The share of the instructions with one image that name it, as MMMU's questions do."""
DISSENT = 0.08
"""Chance that one of the ten people who answered a TextVQA question was wrong."""
SPELLINGS = (str, str.capitalize, str.upper, "a {}".format, "{}.".format)
"""The ways to write one answer; the official normalisation makes all of them equal."""


@dataclass(frozen=True)
class Question:
    """An item of the world with its number in the split, and its generator after the item."""

    number: int
    item: world.Item
    rng: np.random.Generator

    @property
    def pictures(self) -> list[bytes]:
        return [_png(image) for image in self.item.images]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _target(definition: DatasetSettings, split: str) -> Path:
    name = definition.files[split]
    if is_pattern(name):
        raise ConfigError(f"files.{split}: {name!r} is a pattern, expected the name of one file")
    return Path(definition.root) / name


def _image_folder(definition: DatasetSettings) -> Path:
    return Path(definition.root) / (definition.image_root or "")


# ---- MMBench ---------------------------------------------------------------------------


def _write_mmbench(definition: DatasetSettings, split: str, questions: list[Question]) -> None:
    """A TSV; evaluation splits have a circular pass per option, which refers to the image."""
    columns = ["index", "question", "hint", *LETTERS[:4], "answer", "category", "image"]
    columns += ["source", "l2-category", "comment", "split"]
    circular = split in EVALUATION_SPLITS
    first = 1 if circular else 500_001  # splits share no index
    rows = []
    for question in questions:
        item = question.item
        choices = world.pick_choices(question.rng, item)
        for shift in range(len(choices) if circular else 1):
            turned = choices[shift:] + choices[:shift]
            index = first + question.number
            image = str(index) if shift else base64.b64encode(question.pictures[0]).decode()
            rows.append(
                {
                    "index": index + shift * CIRCULAR_STEP,
                    "question": item.question,
                    **dict(zip(LETTERS, turned, strict=False)),
                    "answer": LETTERS[turned.index(item.answer)],
                    "category": item.template,
                    "image": image,
                    "source": "synthetic",
                    "l2-category": world.SKILLS[item.template],
                    "split": split,
                }
            )
    rows.sort(key=lambda row: int(str(row["index"])))
    with atomic_path(_target(definition, split)) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# ---- MMMU ------------------------------------------------------------------------------

_IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_MMMU_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "question", "options", "explanation")),
        *((f"image_{number}", _IMAGE_TYPE) for number in range(1, 8)),
        *((name, pa.string()) for name in ("img_type", "answer", "topic_difficulty")),
        *((name, pa.string()) for name in ("question_type", "subfield")),
    ]
)


def _write_mmmu(definition: DatasetSettings, split: str, questions: list[Question]) -> None:
    """A parquet file per subject, where the split's pattern `*/<split>-*.parquet` finds it."""
    pattern = definition.files[split]
    if pattern != hub_pattern(split):
        raise ConfigError(f"files.{split}: expected {hub_pattern(split)!r}, got {pattern!r}")
    by_subject: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for question in questions:
        skill = world.SKILLS[question.item.template]
        subject = SUBJECTS.get(skill, "Mixed")
        rows = by_subject[subject]
        rows.append(_mmmu_row(question, f"{split}_{subject}_{len(rows) + 1}"))
    for subject, rows in by_subject.items():
        path = Path(definition.root) / subject / f"{split}-00000-of-00001.parquet"
        with atomic_path(path) as partial:
            pq.write_table(pa.Table.from_pylist(rows, schema=_MMMU_SCHEMA), partial)


def _mmmu_row(question: Question, name: str) -> dict[str, Any]:
    item, pictures = question.item, question.pictures
    choices: list[str] = []
    answer = item.answer
    if question.rng.random() >= OPEN_SHARE:
        choices = world.pick_choices(question.rng, item)
        answer = LETTERS[choices.index(item.answer)]
    marks = "" if len(pictures) > 1 else "<image 1> "
    return {
        "id": name,
        "question": marks + item.question,
        "options": repr(choices),
        "explanation": "",
        **{
            f"image_{number}": {"bytes": content, "path": f"{name}_{number}.png"}
            for number, content in enumerate(pictures, start=1)
        },
        "img_type": "['Drawing']",
        "answer": answer,
        "topic_difficulty": "Easy",
        "question_type": "multiple-choice" if choices else "open",
        "subfield": item.template,
    }


# ---- TextVQA ---------------------------------------------------------------------------


def _write_textvqa(definition: DatasetSettings, split: str, questions: list[Question]) -> None:
    """One JSON file per split, and a PNG per question in the folder that all splits share."""
    folder = _image_folder(definition)
    first = 1 if split in EVALUATION_SPLITS else 500_001
    data = []
    for question in questions:
        item, (picture, *_) = question.item, question.pictures
        image_id = hashlib.sha256(picture).hexdigest()[:16]
        write_bytes(folder / f"{image_id}.png", picture)
        data.append(
            {
                "question_id": first + question.number,
                "question": item.question,
                "image_id": image_id,
                "image_classes": [item.template],
                "image_width": item.images[0].width,
                "image_height": item.images[0].height,
                "set_name": split,
                "answers": _ten_answers(question),
            }
        )
    content = {"dataset_name": "textvqa", "dataset_type": split, "data": data}
    write_json(_target(definition, split), content)


def _ten_answers(question: Question) -> list[str]:
    """What ten people answered: most agree, spellings differ, some are wrong."""
    item, rng = question.item, question.rng
    wrong = [value for value in item.pool if value != item.answer]
    answers = []
    for _ in range(10):
        answer = item.answer if rng.random() >= DISSENT else wrong[int(rng.integers(len(wrong)))]
        spelling = SPELLINGS[int(rng.integers(len(SPELLINGS)))] if rng.random() < 0.3 else str
        answers.append(spelling(answer))
    return answers


# ---- LLaVA-Instruct --------------------------------------------------------------------


def _write_llava(definition: DatasetSettings, split: str, questions: list[Question]) -> None:
    """A JSON array of conversations; half of the questions offer options in their text."""
    folder = _image_folder(definition)
    rows = []
    for question in questions:
        item = question.item
        pictures = question.pictures
        paths = []
        for picture in pictures:
            name = f"{item.template}/{hashlib.sha256(picture).hexdigest()[:16]}.png"
            write_bytes(folder / name, picture)
            paths.append(name)
        text = _instruction(question)
        if len(paths) == 1 and question.rng.random() < MARKED_SHARE:
            text = f"<image 1> {text}"
        tags = "\n".join(["<image>"] * len(paths))
        human = f"{tags}\n{text}" if question.rng.random() < 0.5 else f"{text}\n{tags}"
        rows.append(
            {
                "id": f"{question.number:09d}",
                "image": paths[0] if len(paths) == 1 else paths,
                "conversations": [
                    {"from": "human", "value": human},
                    {"from": "gpt", "value": item.answer},
                ],
            }
        )
    write_json(_target(definition, split), rows)


def _instruction(question: Question) -> str:
    """The text of a question as the templates of the other datasets put it."""
    item = question.item
    choices: dict[str, str] = {}
    if question.rng.random() < 0.5:
        choices = dict(zip(LETTERS, world.pick_choices(question.rng, item), strict=False))
    sample = Sample(
        id="",
        dataset="",
        split="",
        question_type="multiple-choice" if choices else "vqa",
        question=item.question,
        images=[],
        choices=choices,
    )
    return question_text(sample, PromptTemplates())


WRITERS: dict[str, Callable[[DatasetSettings, str, list[Question]], None]] = {
    "mmbench": _write_mmbench,
    "mmmu": _write_mmmu,
    "textvqa": _write_textvqa,
    "llava": _write_llava,
}
"""By dataset format."""

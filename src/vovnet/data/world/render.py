"""The synthetic world as raw files: datasets in the layouts of four real ones.

Question i of a split follows from (seed, dataset, split, i) alone. The name of its template stands
where each layout has its category, so that a router can be fitted per template.
"""

import base64
import hashlib
import io
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vovnet.config import DatasetSettings, PromptTemplates, Settings
from vovnet.core.errors import ConfigError
from vovnet.core.files import atomic_path, sha256_bytes, sha256_file, write_bytes, write_json
from vovnet.data.formats.mmbench import CIRCULAR_STEP
from vovnet.data.prompts import filled
from vovnet.data.raw_files import hub_pattern, is_pattern
from vovnet.data.world import questions as world
from vovnet.pipeline.manifest import write_manifest

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
        """The item's images as PNG."""
        buffers = [io.BytesIO() for _ in self.item.images]
        for image, buffer in zip(self.item.images, buffers, strict=True):
            image.save(buffer, "PNG", compress_level=1)
        return [buffer.getvalue() for buffer in buffers]


def _target(definition: DatasetSettings, split: str) -> Path:
    name = definition.files[split]
    if is_pattern(name):
        raise ConfigError(f"files.{split}: {name!r} is a pattern, expected the name of one file")
    return Path(definition.root) / name


def _write_picture(definition: DatasetSettings, picture: bytes, folder: str = "") -> str:
    """Write a PNG below the image folder; returns its name, without the suffix."""
    name = folder + sha256_bytes(picture)[:16]
    path = Path(definition.root) / (definition.image_root or "") / f"{name}.png"
    write_bytes(path, picture, durable=False)  # many small ones go to the disk together
    return name


def _write_mmbench(definition: DatasetSettings, split: str, questions: list[Question]) -> None:
    """A TSV; evaluation splits have a circular pass per option, which refers to the image."""
    columns = ["index", "question", "hint", *LETTERS[:4], "answer", "category", "image"]
    columns += ["source", "l2-category", "comment", "split"]
    circular = split in EVALUATION_SPLITS
    first = 1 if circular else 500_001  # splits share no index
    rows: list[dict[str, Any]] = []
    for question in questions:
        item = question.item
        choices = world.pick_choices(question.rng, item)
        for shift in range(len(choices) if circular else 1):
            turned = choices[shift:] + choices[:shift]
            index = first + question.number
            image = str(index) if shift else base64.b64encode(question.pictures[0]).decode()
            row = {
                "index": index + shift * CIRCULAR_STEP,
                "question": item.question,
                "answer": LETTERS[turned.index(item.answer)],
                "category": item.template,
                "image": image,
                "source": "synthetic",
                "l2-category": item.skill,
                "split": split,
            }
            rows.append(row | dict(zip(LETTERS, turned, strict=False)))
    rows.sort(key=itemgetter("index"))
    with atomic_path(_target(definition, split)) as partial:
        table = pd.DataFrame(rows, columns=columns)
        table.to_csv(partial, sep="\t", index=False, lineterminator="\n")


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
        subject = SUBJECTS.get(question.item.skill, "Mixed")
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


def _write_textvqa(definition: DatasetSettings, split: str, questions: list[Question]) -> None:
    """One JSON file per split, and a PNG per question in the folder that all splits share."""
    first = 1 if split in EVALUATION_SPLITS else 500_001
    data = []
    for question in questions:
        item, (picture, *_) = question.item, question.pictures
        row = {
            "question_id": first + question.number,
            "question": item.question,
            "image_id": _write_picture(definition, picture),
            "image_classes": [item.template],
            "image_width": item.images[0].width,
            "image_height": item.images[0].height,
            "set_name": split,
            "answers": _ten_answers(question),
        }
        data.append(row)
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


def _write_llava(definition: DatasetSettings, split: str, questions: list[Question]) -> None:
    """A JSON array of conversations; half of the questions offer options in their text."""
    rows = []
    for question in questions:
        item = question.item
        folder = f"{item.template}/"
        names = [_write_picture(definition, picture, folder) for picture in question.pictures]
        paths = [f"{name}.png" for name in names]
        text = _instruction(question)
        if len(paths) == 1 and question.rng.random() < MARKED_SHARE:
            text = f"<image 1> {text}"
        tags = "\n".join(["<image>"] * len(paths))
        human = f"{tags}\n{text}" if question.rng.random() < 0.5 else f"{text}\n{tags}"
        turns = [{"from": "human", "value": human}, {"from": "gpt", "value": item.answer}]
        image = paths[0] if len(paths) == 1 else paths
        rows.append({"id": f"{question.number:09d}", "image": image, "conversations": turns})
    write_json(_target(definition, split), rows)


def _instruction(question: Question) -> str:
    """The text of a question as the templates of the other datasets put it."""
    item = question.item
    choices: dict[str, str] = {}
    if question.rng.random() < 0.5:
        choices = dict(zip(LETTERS, world.pick_choices(question.rng, item), strict=False))
    templates = PromptTemplates()
    return filled(templates.multiple_choice if choices else templates.vqa, item.question, choices)


WRITERS: dict[str, Callable[[DatasetSettings, str, list[Question]], None]] = {
    "mmbench": _write_mmbench,
    "mmmu": _write_mmmu,
    "textvqa": _write_textvqa,
    "llava": _write_llava,
}
"""By dataset format."""

_SHARES = {
    # In the order of `WRITERS`. LLaVA, which is for training alone, has every template.
    "sum": (0.02, 0.03, 0.02, 0.05),
    "recall": (0.27, 0.24, 0.15, 0.18),
    "prior": (0.13, 0.08, 0.03, 0.09),
    "colour": (0.03, 0.03, 0.02, 0.08),
    "shape": (0.03, 0.03, 0.02, 0.06),
    "place": (0.01, 0.01, 0.01, 0.04),
    "second_colour": (0.00, 0.03, 0.00, 0.06),
    "pattern_coarse": (0.07, 0.07, 0.02, 0.08),
    "pattern_any": (0.02, 0.03, 0.33, 0.06),
    "pattern_fine": (0.20, 0.22, 0.05, 0.11),
    "sign_coarse": (0.04, 0.04, 0.02, 0.06),
    "sign_any": (0.02, 0.02, 0.29, 0.05),
    "sign_fine": (0.16, 0.17, 0.04, 0.08),
}
SHARES = {
    layout: {template: shares[place] for template, shares in _SHARES.items() if shares[place]}
    for place, layout in enumerate(WRITERS)
}
"""How often each template occurs, by format.

MMBench's and MMMU's are made so that the words together tell what is needed: a choice by the text
gains much, and one by single words little. Of most of TextVQA's the picture alone tells, so that
looking twice gains more than any choice by the text.
"""


def synthesize(settings: Settings, dataset: str) -> dict[str, int]:
    """Write every split of a synthetic dataset under its root; returns questions per split.

    `<root>/manifest.json` is written last.
    """
    definition, key = settings.data.dataset(dataset), f"data.datasets.{dataset}"
    if definition.source != "synthetic":
        raise ConfigError(f"{key}.source: expected 'synthetic', got {definition.source!r}")
    if definition.format not in WRITERS:
        raise ConfigError(
            f"{key}.format: expected one of {list(WRITERS)}, which can be rendered, got"
            f" {definition.format!r}"
        )
    root = Path(definition.root)
    shutil.rmtree(root, ignore_errors=True)
    counts: dict[str, int] = {}
    templates: dict[str, dict[str, int]] = {}
    for split in definition.files:
        questions = list(_questions(settings, dataset, definition.format, split))
        WRITERS[definition.format](definition, split, questions)
        counts[split] = len(questions)
        tally = Counter(question.item.template for question in questions)
        templates[split] = dict(sorted(tally.items()))
    os.sync()
    files = {
        str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()
    }
    pictures = {name: path for name, path in files.items() if path.suffix == ".png"}
    write_manifest(
        root / "manifest.json",
        step="synthesize",
        settings=settings,
        outputs={name: path for name, path in files.items() if name not in pictures},
        pictures={name: sha256_file(path) for name, path in pictures.items()},
        dataset=dataset,
        seed=settings.data.synthetic.seed,
        num_questions=counts,
        num_images=len(pictures),
        templates=templates,
    )
    return counts


def _questions(settings: Settings, dataset: str, layout: str, split: str) -> Iterator[Question]:
    """The questions of a split. A question whose text occurred before is drawn again."""
    synthetic = settings.data.synthetic
    evaluation = split in EVALUATION_SPLITS
    part: world.Part = "eval" if evaluation else "train"
    count = synthetic.num_eval_questions if evaluation else synthetic.num_train_questions
    seen: set[str] = set()
    for number, template in enumerate(_templates(synthetic.seed, dataset, layout, split, count)):
        rng = np.random.default_rng(_entropy(synthetic.seed, dataset, split, number))
        item = world.make_item(rng, part, template)
        while item.question in seen:
            item = world.make_item(rng, part, template)
        seen.add(item.question)
        yield Question(number, item, rng)


def _templates(seed: int, dataset: str, layout: str, split: str, count: int) -> list[str]:
    """The template of each question: the shares of the layout exactly, in random order."""
    shares = SHARES[layout]
    ends = np.cumsum(list(shares.values()))
    places = (np.arange(count) + 0.5) / count * ends[-1]
    names = np.array(list(shares))[np.searchsorted(ends, places)]
    return list(np.random.default_rng(_entropy(seed, dataset, split, count)).permutation(names))


def _entropy(seed: int, dataset: str, split: str, number: int) -> list[int]:
    name = hashlib.sha256(f"{dataset}/{split}".encode()).digest()[:8]
    return [seed, int.from_bytes(name), number]

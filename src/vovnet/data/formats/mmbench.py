"""MMBench: a table of circular multiple-choice questions with base64 images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from vovnet.core.records import Sample
from vovnet.data.formats.base import DatasetFormat
from vovnet.data.formats.mmbench_division import division_of
from vovnet.data.formats.rows import Row
from vovnet.data.formats.source import Source
from vovnet.data.formats.vlmevalkit import TableImages, lettered_choices, rows_of_split

REQUIRED = ("index", "question", "A", "B")

CIRCULAR_STEP = 1_000_000
"""Pass p of the question with index i has the index i + p * CIRCULAR_STEP."""


def read(source: Source) -> Iterator[Sample]:
    """The samples in file order; every text stays as it stands in the file.

    For a part of a divided file the whole file is read first, because the division depends on
    which questions share an image.
    """
    images = TableImages(source.file, source.image_root, source.images)
    division = division_of(source.data, source.dataset, source.split)
    split = division.base if division else source.split
    rows = rows_of_split(source.file, REQUIRED, split, source.skipped)
    samples = (_sample(source, row, images) for row in rows)
    if division:
        source.facts["division"] = asdict(division)
    yield from division.select(samples) if division else samples


def _sample(source: Source, row: Row, images: TableImages) -> Sample:
    index = row.text("index")
    if not index.isdecimal():
        raise row.error("index", f"expected a whole number, got {index!r}")
    pass_index, group = divmod(int(index), CIRCULAR_STEP)
    choices = lettered_choices(row)
    if len(choices) < 2:
        raise row.error("A", "expected at least two options")
    answer = row.optional_text("answer")
    if answer and answer not in choices:
        raise row.error("answer", f"expected one of {list(choices)}, got {answer!r}")
    return Sample(
        id=source.claim(row, "index", index),
        dataset=source.dataset,
        split=source.split,
        question_type="multiple-choice",
        question=row.text("question"),
        images=images.of(row),
        choices=choices,
        hint=row.optional_text("hint"),
        answer=answer,
        answer_text=choices.get(answer, ""),
        category=row.optional_text("category"),
        subject=row.optional_text("l2-category"),
        group=str(group),
        pass_index=pass_index,
    )


FORMAT = DatasetFormat(
    read=read,
    scorer="mmbench",
    question_types=("multiple-choice",),
    files="TSV of MMBench (20230712 and later, V1.1), with base64 images or references to another"
    " row's; the same rows as JSON",
    answers="a letter; for training the text of its option",
    category="`category`",
)

"""TextVQA 0.5.1: one JSON file per split, and an image file for each image id.

Where the configuration names a file of OCR tokens, those of an image become the question's hint.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from vovnet.config import Section
from vovnet.core.errors import DataError
from vovnet.core.files import read_json
from vovnet.core.records import ImageRef, Sample
from vovnet.data.formats.base import DatasetFormat
from vovnet.data.formats.source import Row, Source

NUM_HUMANS = 10
"""How many people answered each question; mmf's evaluator refuses another number."""

IMAGE_SUFFIXES = (".jpg", ".png")


def read(source: Source) -> Iterator[Sample]:
    """The samples in file order. Rows of the test split have no answers."""
    ocr_file = source.further.get("ocr_files")
    tokens = _ocr_tokens(ocr_file) if ocr_file else None
    for row in _rows(source.file):
        has_answers = row.values.get("answers") is not None
        answers = human_answers(row, "answers") if has_answers else []
        answer = Counter(answers).most_common(1)[0][0] if answers else ""  # the first of several
        classes = row.texts("image_classes")
        yield Sample(
            id=source.claim(row, "question_id", row.identifier("question_id")),
            dataset=source.dataset,
            split=source.split,
            question_type="vqa",
            question=row.text("question"),
            images=[_image(source, row)],
            hint="" if tokens is None else _hint(source, row, tokens),
            answer=answer,
            answer_text=answer,
            answers=answers,
            category=classes[0] if classes else "",
        )


def human_answers(row: Row, column: str) -> list[str]:
    """The ten human answers of a row."""
    answers = row.texts(column)
    if len(answers) != NUM_HUMANS:
        raise row.error(column, f"expected {NUM_HUMANS} human answers, got {len(answers)}")
    return answers


def _rows(path: Path) -> Iterator[Row]:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise DataError(f"{path}: expected an object with a list under the key 'data'")
    for number, values in enumerate(content["data"], start=1):
        if not isinstance(values, dict):
            raise DataError(f"{path}, row {number}: expected an object")
        yield Row(path, number, values)


def _ocr_tokens(path: Path) -> dict[str, list[str]]:
    """Image id -> the texts that OCR read in the image, as in TextVQA's Rosetta files."""
    tokens = {}
    for row in _rows(path):
        row.require(("ocr_tokens",))
        tokens[row.identifier("image_id")] = row.texts("ocr_tokens")
    return tokens


def _hint(source: Source, row: Row, tokens: dict[str, list[str]]) -> str:
    name = row.identifier("image_id")
    if name not in tokens:
        source.skipped["image without a row of OCR tokens"] += 1
    read = tokens.get(name)
    return f"Reference OCR token: {', '.join(read)}" if read else ""


def _image(source: Source, row: Row) -> ImageRef:
    name, where = row.identifier("image_id"), row.at("image_id")
    candidates = [name + suffix for suffix in IMAGE_SUFFIXES]
    return source.images.add_first(source.image_root, candidates, where)


class Options(Section):
    ocr_files: dict[str, str] = Field(
        {},
        description="Per split of TextVQA the file of OCR tokens that go into the prompt; none by"
        " default.",
    )


FORMAT = DatasetFormat(
    read=read,
    scorer="textvqa",
    question_types=("vqa",),
    files="TextVQA 0.5.1 JSON and its image folder",
    answers="ten human answers",
    category="the first image class",
    options=Options,
    file_options=("ocr_files",),
)

"""TextVQA 0.5.1: one JSON file per split, image files named by image id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vovnet.data.images import inside
from vovnet.data.source import Row, Source
from vovnet.errors import DataError
from vovnet.files import read_json
from vovnet.records import ImageRef, Sample

IMAGE_SUFFIXES = (".jpg", ".png")


def read(source: Source) -> Iterator[Sample]:
    """The samples in file order. Rows of the test split have no answers."""
    content = read_json(source.file)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise DataError(f"{source.file}: expected an object with a list under the key 'data'")
    for number, values in enumerate(content["data"], start=1):
        if not isinstance(values, dict):
            raise DataError(f"{source.file}, row {number}: expected an object")
        yield _sample(source, Row(source.file, number, values))


def _sample(source: Source, row: Row) -> Sample:
    answers = row.texts("answers")
    answer = most_frequent(answers)
    classes = row.texts("image_classes")
    return Sample(
        id=source.claim(row, "question_id", row.identifier("question_id")),
        dataset=source.dataset,
        split=source.split,
        question_type="vqa",
        question=row.text("question"),
        images=[_image(source, row)],
        answer=answer,
        answer_text=answer,
        answers=answers,
        category=classes[0] if classes else "",
    )


def most_frequent(answers: list[str]) -> str:
    """The most frequent answer, of several the one that comes first; "" if there is none."""
    return Counter(answers).most_common(1)[0][0] if answers else ""


def _image(source: Source, row: Row) -> ImageRef:
    name, where = row.identifier("image_id"), row.at("image_id")
    candidates = [name + suffix for suffix in IMAGE_SUFFIXES]
    paths = (source.image_root / inside(candidate, where) for candidate in candidates)
    found = [candidate for candidate, path in zip(candidates, paths, strict=True) if path.is_file()]
    return source.images.add_file(source.image_root, (found or candidates)[0], where)

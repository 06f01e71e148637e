"""MMMU-Pro: the hub's parquet files, or their rows as JSON, in both forms.

The standard form has a question, up to a dozen options and several images. In the vision form
question and options stand in the one picture: the model is not told them as text, and scoring alone
reads the options.
"""

import ast
import string
from collections.abc import Iterator
from pathlib import Path

from vovnet.core.records import Sample
from vovnet.data.formats.base import DatasetFormat
from vovnet.data.formats.json_rows import is_json
from vovnet.data.formats.mmmu import IMAGE_COLUMNS, images_of, json_rows, parquet_rows
from vovnet.data.formats.source import Row, Source

REQUIRED = ("id", "options")
OPTIONAL = ("question", "answer", "subject", "image", *IMAGE_COLUMNS)
PICTURED = "Answer the multiple-choice question in the image."
"""What is asked in the vision form."""


def read(source: Source) -> Iterator[Sample]:
    """The samples in the order of the files and of their rows."""
    for path in source.files:
        for row in _rows(path):
            in_picture = "image" in row.values
            choices = lettered_options(row)
            answer = row.optional_text("answer")
            if answer and answer not in list(string.ascii_uppercase):
                raise row.error("answer", f"expected one letter, got {answer!r}")
            yield Sample(
                id=source.claim(row, "id", row.identifier("id")),
                dataset=source.dataset,
                split=source.split,
                question_type="open" if in_picture else "multiple-choice",
                question=PICTURED if in_picture else row.text("question"),
                images=images_of(source, row, ("image",) if in_picture else IMAGE_COLUMNS),
                choices=choices,
                answer=answer,
                answer_text=choices.get(answer, answer),
                category=row.optional_text("subject"),
                subject=row.optional_text("subject"),
            )


def _rows(path: Path) -> Iterator[Row]:
    as_json = is_json(path)
    return json_rows(path) if as_json else parquet_rows(path, REQUIRED, OPTIONAL)


def lettered_options(row: Row) -> dict[str, str]:
    """The options by letter, of a list or of the text of one.

    The published rows hold a question whose one option is itself a list; an option that is no text
    counts as it prints, and a gold letter may name none of the options.
    """
    value = row.values["options"]
    try:
        options = ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        options = None
    if not isinstance(options, list) or not 0 < len(options) <= len(string.ascii_uppercase):
        raise row.error("options", f"expected a list of options, got {str(value)[:80]!r}")
    texts = [row.writable("options", str(option)) for option in options]
    return dict(zip(string.ascii_uppercase, texts, strict=False))


FORMAT = DatasetFormat(
    read=read,
    scorer="mmmu_pro",
    question_types=("multiple-choice", "open"),
    files="parquet as on the hub, of the standard form (4 or 10 options) or the vision form; rows"
    " of the standard form as JSON",
    answers="a letter; for training the text of its option",
    category="`subject`",
)

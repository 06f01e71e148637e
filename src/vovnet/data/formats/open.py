"""Questions that are answered in words, in any table, see `vovnet.data.formats.any_table`."""

from collections.abc import Iterator

from vovnet.core.records import Sample
from vovnet.data.formats.any_table import FILES, Table, text_of, texts_of
from vovnet.data.formats.base import DatasetFormat
from vovnet.data.formats.source import Source


def read(source: Source) -> Iterator[Sample]:
    """The samples in the order of the files and of their rows."""
    table = Table(source)
    columns = table.columns
    for row, name in table.rows():
        answers = texts_of(row, columns.answer)
        answer = answers[0] if answers else ""
        yield Sample(
            id=name,
            dataset=source.dataset,
            split=source.split,
            question_type="open",
            question=table.question(row),
            images=table.images(row),
            hint=text_of(row, columns.hint),
            answer=answer,
            answer_text=answer,
            answers=answers,
            category=text_of(row, columns.category),
        )


FORMAT = DatasetFormat(
    read=read,
    scorer="exact",
    question_types=("open",),
    files=FILES,
    answers="a text, or a list of accepted ones",
    category="the column that `columns` names",
    any_table=True,
)

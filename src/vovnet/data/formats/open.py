"""Questions that are answered in words, in any table, see `vovnet.data.formats.any_table`."""

from collections.abc import Iterator

from vovnet.core.records import Sample
from vovnet.data.formats.any_table import FILES, Table, texts_of
from vovnet.data.formats.base import DatasetFormat
from vovnet.data.formats.source import Source


def read(source: Source) -> Iterator[Sample]:
    """The samples in the order of the files and of their rows."""
    table = Table(source)
    for row, name in table.rows():
        answers = texts_of(row, table.columns.answer)
        answer = answers[0] if answers else ""
        yield table.sample(
            row, name, question_type="open", answer=answer, answer_text=answer, answers=answers
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

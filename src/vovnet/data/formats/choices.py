"""Questions with options in any table, see `vovnet.data.formats.any_table`."""

from collections.abc import Iterator

from vovnet.core.records import Sample
from vovnet.data.formats.any_table import FILES, Table, lettered_gold
from vovnet.data.formats.base import DatasetFormat
from vovnet.data.formats.source import Source


def read(source: Source) -> Iterator[Sample]:
    """The samples in the order of the files and of their rows."""
    table = Table(source)
    for row, name in table.rows():
        choices = table.choices(row)
        answer = lettered_gold(row, table.columns, choices)
        yield table.sample(
            row,
            name,
            question_type="multiple-choice",
            choices=choices,
            answer=answer,
            answer_text=choices.get(answer, ""),
        )


FORMAT = DatasetFormat(
    read=read,
    scorer="mmbench",
    question_types=("multiple-choice",),
    files=FILES,
    answers="a letter, the place of an option, or its text; for training the text of the option",
    category="the column that `columns` names",
    any_table=True,
)

"""What an experiment did, sample by sample, read again from its samples.parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vovnet.core.errors import DataError
from vovnet.core.layout import Layout
from vovnet.core.records import read_table
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS
from vovnet.evaluation.questions import Questions


def samples_path(layout: Layout, name: str) -> Path:
    """What an experiment did, sample by sample."""
    return layout.eval(name) / "samples.parquet"


class SampleResults:
    """What an experiment did, as its samples.parquet tells it."""

    def __init__(self, layout: Layout, name: str) -> None:
        self.path, self.name = samples_path(layout, name), name
        table = read_table(self.path, SAMPLE_RESULT_COLUMNS)
        self.tables = dict(list(table.groupby(["dataset", "seed", "point"], sort=False)))

    def rows(self, questions: Questions, seed: int, point: int) -> pd.DataFrame:
        """The rows of one set, seed and sweep point, which must be those of the questions."""
        rows = self.tables.get((questions.name, seed, point))
        if rows is None or rows["id"].tolist() != [sample.id for sample in questions.samples]:
            raise DataError(
                f"{self.path}: the samples of {questions.name}, seed {seed}, point {point} are not"
                f" those of the set, evaluate {self.name!r} again"
            )
        return rows

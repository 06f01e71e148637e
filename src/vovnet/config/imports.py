"""What a run with `imported` says: which files of other programs hold which view of a set."""

from typing import Literal

from pydantic import Field

from vovnet.config.kinds import PathText, Section, ViewName


class LogColumns(Section):
    """Which column of a log holds what, where it is not that of the layout; null for none.

    A column of an object of a row is spelled with a point, as in `pope_accuracy.score`.
    """

    id: str | None = None
    prediction: str | None = None
    question: str | None = None
    """What was asked, which must hold the question of the prepared sample."""
    score: str | None = None
    """In [0, 1], in place of what the set's scorer says of the prediction."""
    tokens: str | None = None
    flops: str | None = None
    entropy: str | None = None
    margin: str | None = None
    log_probability: str | None = None


class LoggedView(Section):
    """One view of a set: the file that holds its answers, and what each of them cost."""

    file: PathText
    where: dict[str, str] = Field({})
    """Columns and the values that the rows of this view have in them."""
    tokens: int | None = Field(None, ge=0)
    """Vision tokens of every answer; the log's own column if left out."""
    flops: int | None = Field(None, ge=0)
    """Operations of every answer, tower and language model together."""


class ImportedSet(Section):
    """The log of one evaluation set, a file or a part of one for each view."""

    layout: Literal["rows", "lmms_eval", "vlmevalkit", "llava"] = "rows"
    match: Literal["id", "position"] = "id"
    """Whether ids of the log are those of the samples, or their places in the split, from 0."""
    columns: LogColumns = LogColumns()
    views: dict[ViewName, LoggedView] = Field(min_length=1)

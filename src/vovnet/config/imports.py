"""What a run with `imported` says: which files of other programs hold which view of a set."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from vovnet.config.kinds import PathText, Section, ViewName

COUNT_LIMIT = 10**18
"""Tokens or operations of an answer are fewer: tables hold them, and sums of a few, in 64 bits."""


class LogColumns(Section):
    """Which column of a log holds what, where it is not that of the layout; "" for none.

    A value inside an object is spelled with a point, as in `pope_accuracy.score`.
    """

    id: str | None = None
    """The name of a question. Where a log has none: "" with `match: position`, and answers are
    numbered from 0."""
    prediction: str | None = None
    """The answer as a text, or a list of which it is the first."""
    question: str | None = None
    """What was asked, which must hold the question of the prepared sample."""
    score: str | None = None
    """A score in [0, 1], in place of what the set's scorer says of the prediction."""
    tokens: str | None = None
    """Vision tokens of the answer, where views do not tell them."""
    flops: str | None = None
    """Operations of the answer, tower and language model together."""
    entropy: str | None = None
    """Entropy in nats of the first answer token, for cascades."""
    margin: str | None = None
    """Probability of the likeliest first token less that of the second, for cascades."""
    log_probability: str | None = None
    """Log-probability in nats of the whole answer, for cascades."""


class LoggedView(Section):
    """One view of a set: the file that holds its answers, and what each of them cost."""

    file: PathText
    """The log, or one that holds several views."""
    where: dict[str, str] = Field({})
    """Columns and the values that the rows of this view have in them."""
    tokens: int | None = Field(None, ge=0, lt=COUNT_LIMIT)
    """Vision tokens of every answer; the log's own column if left out."""
    flops: int | None = Field(None, ge=0, lt=COUNT_LIMIT)
    """Operations of every answer, tower and language model together."""
    columns: LogColumns = LogColumns()
    """Columns of this view alone, where one file has columns for each."""


def _check_names(value: Any, validated: ValidatorFunctionWrapHandler) -> Any:
    """Two names of one view, such as `64` and `side-64`, would be one log of two."""
    found = validated(value)
    if isinstance(value, Mapping) and len(found) < len(value):
        raise ValueError(f"expected each view once, got {[*value]}, which are {[*found]}")
    return found


class ImportedSet(Section):
    """The log of one evaluation set, a file or a part of one for each view."""

    layout: Literal["rows", "lmms_eval", "vlmevalkit", "llava"] = "rows"
    """Whose layout the files have; `rows` is any table."""
    match: Literal["id", "position"] = "id"
    """Whether ids of the log are those of the samples, or their places in the split, from 0. An id
    that two parts of `data.router_fit` have stands in the log as `<dataset>/<split>/<id>`."""
    columns: LogColumns = LogColumns()
    """Columns that are not those of the layout."""
    views: Annotated[dict[ViewName, LoggedView], WrapValidator(_check_names)] = Field(min_length=1)
    """By view its log: every action, and every further view that an experiment shows."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for view in self.views.values():
            own = self.columns.model_dump() | view.columns.model_dump(exclude_none=True)
            if own["id"] == "" and self.match == "id":
                raise ValueError("columns.id: expected a column, or match: position, got ''")
            if own["prediction"] == "" and not own["score"]:
                raise ValueError("columns.prediction: expected a column, or columns.score, got ''")
        return self

"""What a dataset format declares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from vovnet.config import DatasetSettings, Section, first_error
from vovnet.core.errors import ConfigError

if TYPE_CHECKING:  # whoever asks for a format's scorer depends on no reader
    from vovnet.core.records import QuestionType, Sample
    from vovnet.data.formats.source import Source


@dataclass(frozen=True)
class DatasetFormat:
    """All that is asked of a format.

    `read` yields the samples of a split in the order of its files. `scorer` is an entry of
    vovnet.evaluation.scoring. `question_types` are the kinds of questions that it yields, each of
    which has a prompt template. `options` declares the keys that a dataset of this format may
    have beside those of every dataset. An option that is a mapping has an entry for each split;
    the options in `file_options` map a split to a further file that it is read from.

    `kind` tells `vovnet inspect` which kind of task a sample is; its question type if left out.

    `files`, `answers` and `category` say in the table of docs/datasets.md which files are read,
    which answers the samples have, and what becomes their category.
    """

    read: Callable[[Source], Iterator[Sample]]
    scorer: str
    question_types: tuple[QuestionType, ...]
    files: str
    answers: str
    category: str
    options: type[Section] = Section
    file_options: tuple[str, ...] = ()
    any_table: bool = False  # whether it follows `columns` and `where` of the dataset
    kind: Callable[[Sample], str] | None = None

    def check_options(self, key: str, definition: DatasetSettings) -> None:
        """Refuse an option that the format does not have, or a value that it does not take."""
        try:
            self.options.model_validate(definition.options)
        except ValidationError as error:
            message = f"{key}.{first_error(error)}"
            raise ConfigError(f"{message} (format {definition.format!r})") from None
        for name in ("columns", "where") if not self.any_table else ():
            if getattr(definition, name) is not None:
                raise ConfigError(
                    f"{key}.{name}: format {definition.format!r} has columns of its own, expected"
                    " none; `choices` and `open` read any table"
                )
        for option, value in definition.options.items():
            for split in value if isinstance(value, Mapping) else ():
                if split not in definition.files:
                    raise ConfigError(
                        f"{key}.{option}: there is no split {split!r}, expected one of"
                        f" {list(definition.files)}"
                    )

    def further_files(self, definition: DatasetSettings, split: str) -> dict[str, str]:
        """Option -> the further file below the root that it names for a split."""
        by_option = {option: definition.options.get(option, {}) for option in self.file_options}
        return {option: files[split] for option, files in by_option.items() if split in files}

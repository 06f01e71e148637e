"""What an adapter is given: the files of one split, and rows whose errors say where they are."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vovnet.config import DatasetSettings
from vovnet.core.errors import ConfigError, DataError
from vovnet.data.formats.mmbench_division import Division
from vovnet.data.images import ImageStore
from vovnet.data.seen import Seen

HASHES = ("md5", "sha256")
"""Algorithms by which a configuration may name the file it expects."""


@dataclass(frozen=True)
class Source:
    """One split of a raw dataset. Adapters count in `skipped` what they leave out, by reason."""

    dataset: str
    split: str
    root: Path
    files: tuple[Path, ...]
    image_root: Path
    images: ImageStore
    division: Division | None = None
    ocr_file: Path | None = None
    skipped: Counter[str] = field(default_factory=Counter)
    _ids: Seen = field(default_factory=Seen)

    @property
    def file(self) -> Path:
        """The split's file, for layouts that have exactly one."""
        if len(self.files) != 1:
            names = [path.name for path in self.files]
            raise DataError(f"{self.root}: split {self.split!r} takes one file, got {names}")
        return self.files[0]

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Every file that is read, images apart."""
        return (*self.files, *([self.ocr_file] if self.ocr_file else []))

    def claim(self, row: Row, column: str, name: str) -> str:
        """`name`, which no row of the split may have had before."""
        if self._ids.add(name) > 1:
            raise row.error(column, f"the id {name!r} occurs twice")
        return name


@dataclass(frozen=True)
class Row:
    """One raw row; `number` counts data rows from 1."""

    path: Path
    number: int
    values: Mapping[str, Any]

    def at(self, column: str) -> str:
        return f"{self.path}, row {self.number}, column {column!r}"

    def error(self, column: str, message: str) -> DataError:
        return DataError(f"{self.at(column)}: {message}")

    def text(self, column: str) -> str:
        """A required text, not empty."""
        if self.values.get(column) is None:
            raise self.error(column, "is missing")
        text = self.optional_text(column)
        if not text.strip():
            raise self.error(column, "is empty")
        return text

    def optional_text(self, column: str) -> str:
        """A text, "" where there is none."""
        value = self.values.get(column)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.error(column, f"expected text, got {type(value).__name__}")
        return self.writable(column, value)

    def identifier(self, column: str) -> str:
        """An id, which may be a whole number or a text."""
        value = self.values.get(column)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(column)

    def texts(self, column: str) -> list[str]:
        """A list of texts, empty where there is none."""
        value = self.values.get(column)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(column, "expected a list of texts")
        return [self.writable(column, item) for item in value]

    def writable(self, column: str, text: str) -> str:
        """The text, which must be one: JSON can hold halves of characters, UTF-8 cannot."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.error(column, f"holds no valid text ({error.reason})") from None
        return text


def require_columns(path: Path, names: list[str], required: tuple[str, ...]) -> None:
    """One error for the first column that a table lacks."""
    for name in required:
        if name not in names:
            raise DataError(f"{path}: column {name!r} is missing, it has {names}")


def check_hash(name: str, dataset: DatasetSettings, split: str, files: tuple[Path, ...]) -> None:
    """Hold the split's one file against the hash that the configuration expects, if any."""
    expected = dataset.checksums.get(split)
    if expected is None:
        return
    key = f"data.datasets.{name}.checksums.{split}"
    algorithm, _, digits = expected.partition(":")
    if algorithm not in HASHES or not re.fullmatch(r"[0-9a-f]+", digits):
        raise ConfigError(f"{key}: expected <algorithm>:<digits> with one of {list(HASHES)}")
    if len(files) != 1:
        raise ConfigError(f"{key}: a hash is of one file, the split has {len(files)}")
    with files[0].open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != digits:
        raise DataError(
            f"{files[0]}: is another version, or damaged: its {algorithm} is {found}, expected"
            f" {digits} ({key})"
        )


def find_files(name: str, dataset: DatasetSettings, split: str) -> tuple[Path, ...]:
    """The files of a split in a stable order: one file, all matches of a glob, or of a folder.

    A folder stands for the hub's layout `<folder>/<subject>/<split>-*.parquet`.
    """
    key = f"data.datasets.{name}.files.{split}"
    if split not in dataset.files:
        raise ConfigError(f"{key}: no such split, expected one of {sorted(dataset.files)}")
    root, pattern = Path(dataset.root), dataset.files[split]
    path = root / pattern
    if path.is_dir():
        found = sorted(path.glob(f"*/{split}-*.parquet"))
    elif any(mark in pattern for mark in "*?["):
        if Path(pattern).is_absolute():
            raise ConfigError(f"{key}: {pattern!r} must be relative to the dataset's root")
        found = sorted(item for item in root.glob(pattern) if item.is_file())
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise DataError(f"{path}: file not found ({key})")
    return tuple(found)


def find_ocr_file(name: str, dataset: DatasetSettings, split: str) -> Path | None:
    """The file of the split's OCR tokens; None where questions are asked without."""
    if split not in dataset.ocr_files:
        return None
    path = Path(dataset.root) / dataset.ocr_files[split]
    if not path.is_file():
        raise DataError(f"{path}: file not found (data.datasets.{name}.ocr_files.{split})")
    return path

"""What the reader of a format gets: the files of one split, and a store for its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vovnet.config import DataSettings
from vovnet.core.errors import DataError
from vovnet.data.formats.rows import Row
from vovnet.data.image_store import ImageStore
from vovnet.data.name_counts import NameCounts


@dataclass(frozen=True)
class Source:
    """One split of a raw dataset, with the store that its images go to.

    `further` holds the files that the format's file options name for this split. A reader
    counts in `skipped` what it leaves out, by reason, and notes in `facts` what the manifest
    has to say about how it read the split.
    """

    dataset: str
    split: str
    root: Path
    files: tuple[Path, ...]
    image_root: Path
    images: ImageStore
    data: DataSettings
    further: Mapping[str, Path] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Any] = field(default_factory=dict)
    _ids: NameCounts = field(default_factory=NameCounts)

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
        return (*self.files, *self.further.values())

    def claim(self, row: Row, column: str, name: str) -> str:
        """`name`, which no row of the split may have had before."""
        if self._ids.add(name) > 1:
            raise row.error(column, f"the id {name!r} occurs twice")
        return name

"""Names that were met before, kept on disk: memory does not grow with the dataset."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator


class Seen:
    """A multiset of texts in a temporary file, which is gone with the object."""

    def __init__(self) -> None:
        self._table = sqlite3.connect("")
        weakref.finalize(self, self._table.close)
        self._table.execute(
            "CREATE TABLE seen (name TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID"
        )

    def add(self, name: str) -> int:
        """Note a name; returns how often it was met, this time included."""
        statement = (
            "INSERT INTO seen VALUES (?, 1)"
            " ON CONFLICT (name) DO UPDATE SET times = times + 1 RETURNING times"
        )
        (times,) = self._table.execute(statement, (name,)).fetchone()
        return int(times)

    def __contains__(self, name: object) -> bool:
        found = self._table.execute("SELECT 1 FROM seen WHERE name = ?", (name,))
        return found.fetchone() is not None

    def __iter__(self) -> Iterator[str]:
        """The distinct names, sorted."""
        for (name,) in self._table.execute("SELECT name FROM seen ORDER BY name"):
            yield name

    def __len__(self) -> int:
        (count,) = self._table.execute("SELECT count(*) FROM seen").fetchone()
        return int(count)

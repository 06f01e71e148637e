"""How often each name occurred, counted on disk: memory does not grow with the dataset."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator


class NameCounts:
    """Counts of names in a temporary file, which vanishes with the object."""

    def __init__(self) -> None:
        self._table = sqlite3.connect("")
        weakref.finalize(self, self._table.close)
        self._table.execute(
            "CREATE TABLE counts (name TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID"
        )

    def add(self, name: str) -> int:
        """Count a name once more; returns how often it has occurred."""
        statement = (
            "INSERT INTO counts VALUES (?, 1)"
            " ON CONFLICT (name) DO UPDATE SET times = times + 1 RETURNING times"
        )
        (times,) = self._table.execute(statement, (name,)).fetchone()
        return int(times)

    def __contains__(self, name: object) -> bool:
        rows = self._table.execute("SELECT 1 FROM counts WHERE name = ?", (name,))
        return rows.fetchone() is not None

    def __iter__(self) -> Iterator[str]:
        """The distinct names, sorted."""
        for (name,) in self._table.execute("SELECT name FROM counts ORDER BY name"):
            yield name

    def __len__(self) -> int:
        (count,) = self._table.execute("SELECT count(*) FROM counts").fetchone()
        return int(count)

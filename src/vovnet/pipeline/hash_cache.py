"""Hashes of files that no step makes, computed once for each version of a file."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vovnet.core.errors import DataError
from vovnet.core.files import read_json, sha256_file, sha256_json, write_json


class HashCache:
    """SHA-256 of files; one whose size and time are as they were is not read again.

    The DAG compares a user's files by content, because copies have new times. `path` is where
    the hashes are kept between calls.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        with suppress(DataError):
            self._known = read_json(path)

    def hashes(self, paths: Iterable[Path]) -> dict[Path, str]:
        """The hash of each file."""
        before = dict(self._known)
        found = {path: self._hash(path) for path in paths}
        if self._known != before:
            write_json(self._path, self._known)
        return found

    def digest(self, paths: Iterable[Path]) -> str:
        """One hash of files and folders; of a folder, the names of what lies in it count."""
        paths = list(paths)
        listed: dict[str, object] = {
            str(path): sorted(item.name for item in path.iterdir())
            for path in paths
            if path.is_dir()
        }
        files = self.hashes(path for path in paths if not path.is_dir())
        return sha256_json(listed | {str(path): found for path, found in files.items()})

    def _hash(self, path: Path) -> str:
        status = path.stat()
        seen = [status.st_size, status.st_mtime_ns]
        known = self._known.get(str(path))
        if known is None or known[:2] != seen:
            known = self._known[str(path)] = [*seen, sha256_file(path)]
        return str(known[2])

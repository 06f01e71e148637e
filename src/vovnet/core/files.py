"""Atomic writes and content hashes: a file that exists is complete.

Every output of the project is written aside and renamed, so that a killed process
leaves nothing half-written behind.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from vovnet.core.errors import DataError, one_line


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it to `path` when the block succeeds.

    An error of the system names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.filename in (None, str(partial)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):  # a disk that cannot be written may not let go of it either
            partial.unlink()


@contextmanager
def writing(path: Path | str) -> Iterator[TextIO]:
    """Yield a text file to write to, which takes its place when the block succeeds."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
        yield file


def write_text(path: Path | str, text: str) -> None:
    with writing(path) as file:
        file.write(text)


def write_bytes(path: Path | str, content: bytes) -> None:
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path | str, value: Any) -> None:
    """Sorted keys and a final newline: equal values give equal bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def json_ready(value: Any) -> Any:
    """The value for JSON, which has no infinity ("inf") and no missing number (null)."""
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def read_json(path: Path | str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: file not found") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({json_reason(error)})") from None


def json_reason(error: Exception) -> str:
    """Why a text is no JSON: its syntax, its encoding, its depth, or a number that is too long."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return error.msg if isinstance(error, json.JSONDecodeError) else one_line(error)


def read_jsonl(path: Path | str) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, value); blank lines are skipped."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except (ValueError, RecursionError) as error:
                        reason = json_reason(error)
                        raise DataError(
                            f"{path}, line {number}: not valid JSON ({reason})"
                        ) from None
    except FileNotFoundError:
        raise DataError(f"{path}: file not found") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid UTF-8 ({error.reason})") from None


def sha256_bytes(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path | str) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"{path}: file not found") from None


def sha256_json(value: Any) -> str:
    """Hash of the canonical JSON form of `value`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sha256_bytes(text.encode())


class HashCache:
    """SHA-256 of files; one whose size and time are as they were is not read again.

    The DAG compares a user's files by content, because copies have new times. `path` is where
    the hashes are kept between calls.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        with suppress(DataError):
            known = read_json(path)
            self._known = known if isinstance(known, dict) else {}

    def hashes(self, paths: Iterable[Path]) -> dict[Path, str]:
        """The hash of each file."""
        before = dict(self._known)
        found = {path: self._hash(path) for path in paths}
        if self._known != before:
            write_json(self._path, self._known)
        return found

    def digest(self, paths: Iterable[Path]) -> str:
        """One hash of files."""
        return sha256_json({str(path): found for path, found in self.hashes(paths).items()})

    def _hash(self, path: Path) -> str:
        status = path.stat()
        seen = [status.st_size, status.st_mtime_ns]
        known = self._known.get(str(path))
        if known is None or known[:2] != seen:
            known = self._known[str(path)] = [*seen, sha256_file(path)]
        return str(known[2])

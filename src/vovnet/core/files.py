"""The one way to open text files; atomic writes and content hashes: a file that exists is complete.

Every output of the project is written aside and renamed, so that a killed process leaves nothing
half-written behind. It is renamed when its bytes are on the disk, so that a power cut leaves
nothing behind either whose name is there and whose content is not.
"""

import codecs
import errno
import fcntl
import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from vovnet.core.errors import OF_WRITING, DataError, one_line

MAX_ROW_CHARS = 1 << 26
"""Of a line, a row or a cell of a file that is read row by row: 64 MiB."""


@contextmanager
def atomic_path(path: Path | str, *, durable: bool = True) -> Iterator[Path]:
    """Yield an empty file beside `path`; rename it to `path` when the block succeeds.

    An error of the system in writing names `path`. What is not `durable` may be damaged by a power
    cut: many files that `os.sync` takes to the disk together, or what is made again unasked.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = f".{path.name}."
    try:
        partial, file = _empty_file(path.with_name(f"{aside}partial"))
        try:
            yield partial
            if not partial.is_symlink():  # a library may have put a file of its own there
                partial.chmod(stat.S_IMODE(os.fstat(file).st_mode))
            move(partial, path) if durable else partial.replace(path)
        except BaseException as error:
            with suppress(OSError):  # a disk that cannot be written may not let go of it either
                partial.unlink()
            if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
                raise error.__context__ from None  # which torch hides behind one of its own
            raise
        finally:
            os.close(file)
    except OSError as error:
        unnamed = error.filename is None and error.errno in OF_WRITING
        if unnamed or Path(os.fsdecode(error.filename or "")).name.startswith(aside):
            error.filename, error.filename2 = str(path), None
        raise


def move(source: Path, target: Path) -> None:
    """Rename a file, or a folder of files, whose bytes are on the disk before its new name is.

    Files of a folder may be read by whom the umask says, whatever the library that wrote them does.
    """
    for path in sorted(source.rglob("*")) if source.is_dir() else ():
        if path.is_file():
            open_to_others(path)
        synchronise(path)
    synchronise(source)
    source.replace(target)
    synchronise(target.parent)


def open_to_others(path: Path) -> None:
    """Let a file be read by whom the umask says, which can only be asked for by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def synchronise(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    Some file systems cannot be asked for it, or not of a folder: there this changes nothing.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        offered = error.errno not in (errno.EINVAL, errno.ENOTSUP)
        if error.errno in OF_WRITING or (offered and not path.is_dir()):
            raise


def _empty_file(partial: Path) -> tuple[Path, int]:
    """An empty file that nobody else writes to, and its descriptor, to be closed in the end.

    It is `partial` under a lock, so that what a killed process left of a file is overwritten when
    that file is made again. Where another process holds the lock, or the file system has no locks,
    it is a new file of a random name.
    """
    with suppress(OSError):
        file = os.open(partial, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file), partial.stat()):  # it was not renamed meanwhile
                os.ftruncate(file, 0)
                return partial, file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    partial = partial.with_suffix(f".{secrets.token_hex(8)}.partial")
    return partial, os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)


@contextmanager
def writing(path: Path | str, *, durable: bool = True) -> Iterator[TextIO]:
    """Yield a text file to write to, which takes its place when the block succeeds."""
    with atomic_path(path, durable=durable) as partial, partial.open("w", encoding="utf-8") as file:
        yield file


def write_text(path: Path | str, text: str, *, durable: bool = True) -> None:
    with writing(path, durable=durable) as file:
        file.write(text)


@contextmanager
def writing_bytes(path: Path | str, *, durable: bool = True) -> Iterator[BinaryIO]:
    """The same of bytes."""
    with atomic_path(path, durable=durable) as partial, partial.open("wb") as file:
        yield file


def write_bytes(path: Path | str, content: bytes, *, durable: bool = True) -> None:
    with writing_bytes(path, durable=durable) as file:
        file.write(content)


def write_json(path: Path | str, value: Any, *, durable: bool = True) -> None:
    write_text(path, json_text(value), durable=durable)


def json_text(value: Any) -> str:
    """Sorted keys and a final newline: equal values give equal bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def json_ready(value: Any) -> Any:
    """The value for JSON, which has no infinity ("inf") and no missing number (null)."""
    if isinstance(value, dict):
        return {key: json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def check_is_file(path: Path | str) -> None:
    """Refuse a pipe, a socket or a device, at which a reader could wait for ever.

    A folder is left to its reader, who is refused by the system.
    """
    mode = Path(path).stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"{path}: expected a file, and this is a pipe or a device")


@contextmanager
def open_text(path: Path | str) -> Iterator[TextIO]:
    """Open a text file to read: UTF-8, with or without a byte order mark, lines as they end.

    A missing file, one that is a pipe, and a line that is not UTF-8, is a DataError when the text
    is read.
    """
    with ExitStack() as stack:
        try:
            check_is_file(path)
            file = stack.enter_context(Path(path).open(encoding="utf-8-sig", newline=""))
        except FileNotFoundError:
            raise DataError(f"{path}: file not found") from None
        try:
            yield file
        except UnicodeDecodeError:
            raise DataError(f"{path}, {_not_utf8(Path(path))}") from None


def read_text(path: Path | str) -> str:
    """A whole text file."""
    with open_text(path) as file:
        return file.read()


def read_log(path: Path | str) -> str:
    """What another program wrote; what is not UTF-8 in it is replaced."""
    return Path(path).read_bytes().decode("utf-8", errors="replace")


def appended_lines(path: Path | str, position: int) -> tuple[list[str], int]:
    """The whole lines of a log from a position (in bytes) on, and where they end."""
    with Path(path).open("rb") as file:
        file.seek(position)
        whole, end, _ = file.read().rpartition(b"\n")
    lines = whole.decode("utf-8", errors="replace").splitlines()
    return lines, position + len(whole) + len(end)


def last_lines(path: Path | str, num_bytes: int) -> list[str]:
    """The lines in the last bytes of a log, with one that is not finished."""
    with Path(path).open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - num_bytes))
        return file.read().decode("utf-8", errors="replace").splitlines()


def append_text(path: Path | str, text: str) -> None:
    """Add to a file that grows; a killed process may leave a part of it."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(text)


def _not_utf8(path: Path) -> str:
    """The first line that is not UTF-8, and what it is."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "line 1: not valid UTF-8 (it begins as UTF-16 does)"
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte {error.start + 1} of the line is {line[error.start]:#04x}"
                return f"line {number}: not valid UTF-8 ({error.reason}, {byte})"
    return "the end: not valid UTF-8 (a character is cut off)"


def read_json(path: Path | str) -> Any:
    try:
        return parse_json(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({json_reason(error)})") from None


def read_object(path: Path | str) -> dict[str, Any]:
    """The JSON object in a file, such as a manifest."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def parse_json(text: str) -> Any:
    """The value of a JSON text; a key that an object has twice is a ValueError."""
    return json.loads(text, object_pairs_hook=unique_keys)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these pairs, whose keys must differ: of two the last would win in silence."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!a} occurs twice in an object")
        found[name] = value
    return found


def json_reason(error: Exception) -> str:
    """Why a text is no JSON: its syntax, its keys, its depth, or a number that is too long."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return error.msg if isinstance(error, json.JSONDecodeError) else one_line(error)


def lines_of(path: Path | str, file: TextIO) -> Iterator[str]:
    """The lines of an open text file, of which none may be so long that it fills the memory."""
    number = 1
    while line := file.readline(MAX_ROW_CHARS + 1):
        if len(line) > MAX_ROW_CHARS:
            raise DataError(f"{path}, line {number}: has more than {MAX_ROW_CHARS:,} characters")
        yield line
        number += 1


def read_jsonl(path: Path | str) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, value); blank lines are skipped."""
    with open_text(path) as file:
        for number, line in enumerate(lines_of(path, file), start=1):
            if line.strip():
                try:
                    yield number, parse_json(line)
                except (ValueError, RecursionError) as error:
                    reason = json_reason(error)
                    raise DataError(f"{path}, line {number}: not valid JSON ({reason})") from None


def sha256_bytes(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path | str) -> str:
    return hash_file(path, "sha256")


def hash_file(path: Path | str, algorithm: str) -> str:
    """The hash of a file's bytes, in hexadecimal digits."""
    try:
        check_is_file(path)
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
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
        if not isinstance(known, list) or known[:-1] != seen:
            known = self._known[str(path)] = [*seen, sha256_file(path)]
        return str(known[2])

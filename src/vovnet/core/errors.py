"""Errors whose text is written for the person at the terminal, and the line for any other one."""

import errno
import os
import sqlite3
from io import IOBase
from pathlib import Path
from traceback import walk_tb

from gpu_leases import LeaseError
from vovnet.core.redaction import redact
from vovnet.core.shown import printable

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
OF_WRITING = (*DISK_FULL, errno.EROFS, errno.EFBIG)
OF_FILES = (
    *OF_WRITING,
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ENOTDIR),
    *(errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE, errno.EMFILE),
)
"""What the system says of files. Libraries with errors of their own repeat the system's text."""

MAX_LINE_CHARS = 1000
"""Of a longer line the beginning and the end are shown: a message may quote what a file holds."""


class VovnetError(Exception):
    """Bad input or a broken contract: one clear line, exit status 2, no traceback.

    The message names the file, line or key and says what was expected. It shows no secrets.
    """

    def __str__(self) -> str:
        return redact(super().__str__())


class ConfigError(VovnetError):
    """A configuration key or value is wrong."""


class DataError(VovnetError):
    """A dataset, observation or result file is wrong."""


class CheckpointError(VovnetError):
    """A model or training checkpoint cannot be read."""


def one_line(error: BaseException | str) -> str:
    """The text of a library's error, whose lines are joined."""
    return " ".join(str(error).split())


def error_line(error: BaseException) -> str | None:
    """One line for what a user's file, setting, permission or disk can cause; None for a fault.

    This is the one definition for the command line and the DAG, whichever reader or writer meets
    the error. The line names the file.
    """
    line = _line_of(error)
    return None if line is None else fit_to_show(line)


def fit_to_show(text: str) -> str:
    """A message for the terminal, whatever it quotes of a file or of an argument.

    It has no secrets and no control characters, which a terminal could take for commands. The
    middle of a long one is left out.
    """
    # A text of many megabytes is cut first, so widely that no secret is cut in what is shown.
    text = redact(printable(_without_middle(text, 8 * MAX_LINE_CHARS)))
    return _without_middle(text, MAX_LINE_CHARS)


def _without_middle(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 2 :]}"


def _line_of(error: BaseException) -> str | None:
    if isinstance(error, VovnetError | LeaseError):
        return Exception.__str__(error)
    text = one_line(error)
    if isinstance(error, UnicodeEncodeError):
        near = error.object[max(0, error.start - 40) : error.end + 40]
        return f"{near!a}: cannot be written in {error.encoding} ({error.reason}), see LC_ALL"
    if isinstance(error, OSError):
        name, reason = _file_of(error), one_line(error.strerror or text or type(error).__name__)
        text = reason if name is None or name in reason else f"{name}: {reason}"
    elif isinstance(error, sqlite3.OperationalError):
        text = f"{text}, in the folder for temporary files"
    elif not any(os.strerror(number) in text for number in OF_FILES):
        return None
    full = "disk is full" in text or any(os.strerror(number) in text for number in DISK_FULL)
    return text + " (make room, and call again)" * full


def _file_of(error: OSError) -> str | None:
    """The file that an error is about.

    Opening a file names it. Reading and writing do not: then it is the file among the variables
    of the innermost function on the way to the error.
    """
    if error.filename is not None:
        return os.fsdecode(error.filename) if not isinstance(error.filename, int) else None
    found = None
    if error.errno not in OF_FILES:
        return None
    for frame, _ in walk_tb(error.__traceback__):
        for value in frame.f_locals.values():
            name = getattr(value, "name", None) if isinstance(value, IOBase) else value
            # Path.is_file would itself raise where the disk fails.
            if isinstance(value, IOBase | Path) and os.path.isfile(str(name)):  # noqa: PTH113
                found = str(name)
    return found

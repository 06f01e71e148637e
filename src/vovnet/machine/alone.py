"""Whether a timed run is alone on its machine.

Every command of the pipeline holds one lock while it works, and shares it with the others. A timed
run takes the lock for itself if nobody else holds it, and then commands that begin meanwhile wait
for its end. The system gives the lock back when a process ends, in whatever way.
"""

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Iterator, Mapping

from gpu_leases.lock_folder import READING, lock_folder, open_folder

NAME = "vovnet-at-work.lock"

_held: list[int | None] = []
"""The lock of this process, while it works; None where the machine has no usable lock."""


@contextlib.contextmanager
def at_work(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Work beside others; waits while a timed run is alone."""
    file = _open_lock(environ)
    _held.append(file)
    try:
        if file is not None:
            _share(file)
        yield
    finally:
        _held.remove(file)
        if file is not None:
            os.close(file)


def _share(file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        print("vovnet: waiting for a timed run on this machine", file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_SH)


@contextlib.contextmanager
def alone() -> Iterator[bool]:
    """Tell whether nobody else is at work, and if so, keep others waiting until the end."""
    with contextlib.ExitStack() as stack:
        if not _held:
            stack.enter_context(at_work())
        file = _held[-1]
        if file is None:
            yield False
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who removed the lock's file may have another one, of which this process knows nothing.
            is_alone = os.fstat(file).st_nlink == 1
        except BlockingIOError:
            is_alone = False
            fcntl.flock(file, fcntl.LOCK_SH)  # the attempt has given up the share
        try:
            yield is_alone
        finally:
            fcntl.flock(file, fcntl.LOCK_SH)


def _open_lock(environ: Mapping[str, str]) -> int | None:
    """Open the lock's file, which whoever comes first makes for all users.

    Where another user has put something else under its name, nobody waits and nobody is alone.
    """
    folder = open_folder(environ)
    try:
        file = _open_or_make(folder)
        status = os.fstat(file)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            return file
        os.close(file)
        reason = "not a file of its own"
    except OSError as error:
        reason = error.strerror or str(error)
    finally:
        os.close(folder)
    path = lock_folder(environ) / NAME
    print(f"vovnet: {path}: {reason}, so no run here counts as alone", file=sys.stderr, flush=True)
    return None


def _open_or_make(folder: int) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.open(NAME, READING, dir_fd=folder)
    try:
        file = os.open(NAME, READING | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
    except FileExistsError:  # made meanwhile
        return os.open(NAME, READING, dir_fd=folder)
    os.fchmod(file, 0o644)
    return file

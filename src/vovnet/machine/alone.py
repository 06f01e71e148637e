"""Whether a timed run is alone on its machine.

Every command of the pipeline holds one lock while it works, and shares it with the others. A timed
run takes the lock for itself if nobody else holds it, and then commands that begin meanwhile wait
for its end. The system gives the lock back when a process ends, in whatever way.
"""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator, Mapping

from vovnet.core.errors import VovnetError
from vovnet.machine.leases import FOLDER, open_lock, shared_folder

NAME = "at-work.lock"

_held: list[int] = []
"""The lock of this process, while it works."""


@contextlib.contextmanager
def at_work(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Work beside others; waits while a timed run is alone."""
    try:
        file = open_lock(shared_folder(environ) / NAME)
    except OSError as error:
        raise VovnetError(
            f"{error.filename}: {error.strerror}, {FOLDER} can name another folder for locks"
        ) from None
    _held.append(file)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            print("vovnet: waiting for a timed run on this machine", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_SH)
        yield
    finally:
        _held.remove(file)
        os.close(file)


@contextlib.contextmanager
def alone() -> Iterator[bool]:
    """Tell whether nobody else is at work, and if so, keep others waiting until the end."""
    with contextlib.ExitStack() as stack:
        if not _held:
            stack.enter_context(at_work())
        file = _held[-1]
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_alone = True
        except BlockingIOError:
            is_alone = False
            fcntl.flock(file, fcntl.LOCK_SH)  # the attempt has given up the share
        try:
            yield is_alone
        finally:
            fcntl.flock(file, fcntl.LOCK_SH)

"""What other users of the machine do, for tests that root runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ALICE, BOB, MALLORY = 54321, 54322, 54323


def as_user(user: int, act: Callable[[], object]) -> str:
    """What a process of another user answers, or the name of its error."""
    answer, write_end = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            said = str(act())
        except BaseException as error:
            said = type(error).__name__
        os.write(write_end, said.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(answer, encoding="utf-8") as file:
        said = file.read()
    os.waitpid(process, 0)
    return said


@contextmanager
def folder_open_to_all() -> Iterator[Path]:
    """A folder like /tmp, in which every user may write."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as two users")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o1777)
        yield Path(name)

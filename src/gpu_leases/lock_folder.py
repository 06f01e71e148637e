"""The folder in which processes of all users of a machine leave the files that they lock.

Other users can write there as well, so nothing in it is trusted: it is opened once, every file in
it is reached through that open folder, and no file that exists is ever written or opened to others.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from gpu_leases.errors import LeaseError

FOLDER = "GPU_LEASES"
"""Environment variable with the folder of the lock files, in place of `SHARED`."""

SHARED = Path("/tmp")
"""Root owns it, so that no user can remove what another one leaves there. It is one folder for all
processes of the machine; TMPDIR would differ between users and jobs."""

READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Neither a symbolic link nor a pipe of another user leads or stops who opens a file."""


def lock_folder(environ: Mapping[str, str] = os.environ) -> Path:
    return Path(environ.get(FOLDER) or SHARED.resolve())


def open_folder(environ: Mapping[str, str] = os.environ) -> int:
    """Open the folder; one that is missing is made for all users."""
    path = lock_folder(environ)
    try:
        if not path.exists():
            if not path.parent.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
            _make_for_everybody(path)
        folder = os.open(path, os.O_DIRECTORY | READING)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
        raise LeaseError(f"{reason}, {FOLDER} can name another folder for locks") from None
    try:
        _refuse_removal_by_others(path, folder)
    except BaseException:
        os.close(folder)
        raise
    return folder


def _make_for_everybody(path: Path) -> None:
    # The folder has its mode from the beginning: to change it afterwards, by its name, could open
    # a private folder that somebody puts in its place in between.
    mask = os.umask(0)
    try:
        path.mkdir(mode=0o1777, exist_ok=True)
    finally:
        os.umask(mask)


def _refuse_removal_by_others(path: Path, folder: int) -> None:
    """Where others may write, only the sticky bit keeps them from removing files of this user."""
    status = os.fstat(folder)
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o022 and not mode & stat.S_ISVTX:
        if status.st_uid != os.geteuid():
            raise LeaseError(
                f"{path}: other users may remove this user's locks there, since the folder lacks"
                f" the sticky bit (chmod +t), {FOLDER} can name another folder for locks"
            )
        os.fchmod(folder, mode | stat.S_ISVTX)

"""Leases: GPUs that a process holds alone until it ends, without a server.

**Locks.** To hold a device is to hold an flock on the device's own file. The lock belongs to the
open file, which a process can hand to a command that it starts. When the last process that has the
file open ends, in whatever way, the system gives the device back. A grandchild has the file open
only where it inherits open files, as it does from a shell. Therefore `vovnet lease` itself stays
until all descendants of its command have ended.

**Turns.** Two processes that each hold some devices and wait for more could wait for ever, and a
process that needs many devices could be overtaken again and again by those that need one. So a
process first draws a ticket, which lists the devices that it could use. It waits until no older
ticket lists one of them, and only then collects devices, one by one as they come free. Of the
processes that compete, therefore, only one at a time holds a few devices and waits for more. A
ticket is locked by an flock as well, so that the tickets of dead processes do not count.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vovnet.machine.devices import VISIBLE, DeviceError, visible_devices

FOLDER = "VOVNET_LEASES"
"""Environment variable with the folder of the lock files, in place of `SHARED`."""

SHARED = Path("/tmp/vovnet-leases")
"""One folder for all processes of the machine. TMPDIR would differ between users and jobs."""

TICKET = "ticket-"
TURNSTILE = "turnstile.lock"
POLL_S = 0.05


@dataclass(frozen=True)
class _Ticket:
    """A place in the queue. The names of tickets sort by the time at which they were drawn."""

    path: Path
    file: int

    def give_back(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.file)


@dataclass
class Lease:
    """Devices that are held until `release`, or until every process with `files` open has ended."""

    devices: list[str]
    files: list[int]
    job_folder: Path | None

    def release(self) -> None:
        while self.files:
            os.close(self.files.pop())
        if self.job_folder:
            _remove_unused(self.job_folder)


def take(count: int, environ: Mapping[str, str] = os.environ) -> Lease:
    """Wait until `count` of the visible devices are free, and hold them."""
    devices = visible_devices(environ)
    if count > len(devices):
        where = "Slurm granted" if "SLURM_JOB_ID" in environ else "this machine offers"
        raise DeviceError(
            f"{count} GPUs are asked for, but {where} {len(devices)}"
            f" ({VISIBLE}={environ.get(VISIBLE, 'not set')})"
        )
    folder = lease_folder(environ)
    held: dict[str, int] = {}
    ticket = _draw_ticket(folder, devices)
    try:
        _wait_for_turn(folder, ticket, devices)
        while len(held) < count:
            free = next(_free(folder, [name for name in devices if name not in held]), None)
            if free is None:
                time.sleep(POLL_S)
            else:
                held.update([free])
    except BaseException:
        for file in held.values():
            os.close(file)
        raise
    finally:
        ticket.give_back()
    order = [name for name in devices if name in held]
    job_folder = folder if "SLURM_JOB_ID" in environ else None
    return Lease(order, [held[name] for name in order], job_folder)


def lease_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder in which the locks of this machine's devices lie.

    A Slurm job has a folder of its own, which is removed with its last lease. Nobody else uses its
    devices, and the same number may stand for another device in another job.
    """
    folder, job = shared_folder(environ), environ.get("SLURM_JOB_ID")
    return folder / f"slurm-{job}" if job else folder


def shared_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of locks that all users and jobs of this machine share."""
    folder = Path(environ.get(FOLDER) or SHARED)
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
    return folder


def _draw_ticket(folder: Path, devices: Sequence[str]) -> _Ticket:
    # One process at a time draws a ticket, so that none appears after a younger one.
    with _turnstile(folder):
        # The clock is one for all processes of the machine.
        path = folder / f"{TICKET}{time.monotonic_ns():020d}-{os.getpid()}"
        partial = folder / f"new-{path.name}"
        file = open_lock(partial)
        fcntl.flock(file, fcntl.LOCK_EX)
        os.write(file, "\n".join(devices).encode())
        # It is locked before it has its name, so that nobody takes it for that of a dead process.
        partial.rename(path)
    return _Ticket(path, file)


@contextlib.contextmanager
def _turnstile(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder's turnstile, which nobody else passes meanwhile."""
    while True:
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            file = open_lock(folder / TURNSTILE)
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink > 0:
                break
            os.close(file)  # meanwhile it was removed with its folder
    try:
        yield
    finally:
        os.close(file)


def _remove_unused(folder: Path) -> None:
    """Remove a folder of locks, unless somebody holds a device there or waits for one."""
    with _turnstile(folder):
        locks = list(folder.glob("gpu-*.lock"))
        free = dict(_free(folder, [path.stem.removeprefix("gpu-") for path in locks]))
        if len(free) == len(locks) and not any(folder.glob(f"{TICKET}*")):
            # The turnstile goes last, so that who waits there finds nothing half removed.
            for path in (*locks, folder / TURNSTILE):
                path.unlink()
            with contextlib.suppress(OSError):
                folder.rmdir()
        for file in free.values():
            os.close(file)


def _wait_for_turn(folder: Path, ticket: _Ticket, devices: Sequence[str]) -> None:
    """Wait until no living process has an older ticket that lists one of the devices."""
    for older in sorted(folder.glob(f"{TICKET}*"), reverse=True):
        if older >= ticket.path:
            continue
        try:
            file = os.open(older, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            wanted = os.read(file, os.fstat(file).st_size).decode().split("\n")
            if not set(devices).isdisjoint(wanted):
                # The lock comes free when the ticket is given back or its process dies.
                fcntl.flock(file, fcntl.LOCK_EX)
                older.unlink(missing_ok=True)
        finally:
            os.close(file)


def _free(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Lock the devices that nobody holds; yield the name and the open file of each."""
    for name in names:
        file = open_lock(folder / f"gpu-{name.replace('/', '_')}.lock")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            yield name, file


def open_lock(path: Path) -> int:
    """Open a file for locking, which every user of the machine may open."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    if os.fstat(file).st_uid == os.getuid():
        os.fchmod(file, 0o666)
    return file

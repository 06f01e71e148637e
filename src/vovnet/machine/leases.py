"""Exclusive GPUs for the lifetime of a process, without a server.

A device is held by an flock on a file of its own. The lock belongs to the open file, which a
process may hand to a command that it starts: it is given back by the system when the last of them
ends, however it ends. What the command starts in turn holds it only where it inherits open files,
as from a shell: `vovnet lease` stays until all of that has ended as well.

Who takes devices draws a ticket, on which stand the devices that would do. When no older ticket
names one of them, devices are collected, one after the other as they come free. So of those who
compete there is never more than one who holds a few and waits for more, which rules out deadlock,
and nobody overtakes a job that waits for many. Tickets are flocks as well: those of the dead do not
count.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vovnet.machine.devices import VISIBLE, DeviceError, visible_devices

FOLDER = "VOVNET_LEASES"
"""Environment variable: where the lock files lie, instead of `SHARED`."""

SHARED = Path("/tmp/vovnet-leases")
"""One folder for every process of the machine: TMPDIR differs between users and jobs."""

TICKET = "ticket-"
TURNSTILE = "turnstile.lock"
POLL_S = 0.05


@dataclass(frozen=True)
class _Ticket:
    """A place in the queue: names sort by the time at which they were drawn, and so appear."""

    path: Path
    file: int

    def give_back(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self.file)


class Lease:
    """Devices held by this process until `release`, or until all who have `files` open end."""

    def __init__(
        self, devices: Sequence[str], files: Sequence[int], job_folder: Path | None = None
    ) -> None:
        self.devices = list(devices)
        self.files = list(files)
        self._job_folder = job_folder

    def environment(self) -> dict[str, str]:
        """What a command must find in its environment to use the devices and no others."""
        # nvidia-smi counts along the bus, CUDA by speed if it is not told otherwise.
        return {VISIBLE: ",".join(self.devices), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def release(self) -> None:
        while self.files:
            os.close(self.files.pop())
        if self._job_folder is not None:
            _remove_unused(self._job_folder)


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
    return Lease(
        order, [held[name] for name in order], folder if "SLURM_JOB_ID" in environ else None
    )


def lease_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the locks of this machine's devices lie.

    A Slurm job has a folder of its own, which goes with its last lease: its devices are its own
    already, and under the numbers that it sees them by, another job may see others.
    """
    folder = Path(environ.get(FOLDER) or SHARED)
    job = environ.get("SLURM_JOB_ID")
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        # All users of a machine share its devices.
        folder.chmod(0o777)
    return folder / f"slurm-{job}" if job else folder


def _draw_ticket(folder: Path, devices: Sequence[str]) -> _Ticket:
    # One at a time: no ticket appears after a younger one.
    turnstile = _enter(folder)
    try:
        # The clock is one for all processes of the machine.
        path = folder / f"{TICKET}{time.monotonic_ns():020d}-{os.getpid()}"
        partial = folder / f"new-{path.name}"
        file = _open(partial)
        fcntl.flock(file, fcntl.LOCK_EX)
        os.write(file, "\n".join(devices).encode())
        # Under its name it is locked from the beginning, and so never taken for one of the dead.
        partial.rename(path)
    finally:
        os.close(turnstile)
    return _Ticket(path, file)


def _enter(folder: Path) -> int:
    """The open locked file of a folder's turnstile: until it is closed, nobody else is there."""
    while True:
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            file = _open(folder / TURNSTILE)
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink > 0:
                return file
            os.close(file)  # removed with the folder, meanwhile


def _remove_unused(folder: Path) -> None:
    """Remove a folder of locks, unless somebody holds a device there or waits for one."""
    turnstile = _enter(folder)
    locks = list(folder.glob("gpu-*.lock"))
    free = dict(_free(folder, [path.stem.removeprefix("gpu-") for path in locks]))
    if len(free) == len(locks) and not any(folder.glob(f"{TICKET}*")):
        # The turnstile last: who waits there finds nothing half removed.
        for path in (*locks, folder / TURNSTILE):
            path.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()
    for file in (*free.values(), turnstile):
        os.close(file)


def _wait_for_turn(folder: Path, ticket: _Ticket, devices: Sequence[str]) -> None:
    """Wait until nobody alive drew a ticket for one of the devices before this one."""
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
                # Comes free when it is given back, or when its process dies.
                fcntl.flock(file, fcntl.LOCK_EX)
                older.unlink(missing_ok=True)
        finally:
            os.close(file)


def _free(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield (name, open locked file) of devices that nobody holds."""
    for name in names:
        file = _open(folder / f"gpu-{name.replace('/', '_')}.lock")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            yield name, file


def _open(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    if os.fstat(file).st_uid == os.getuid():
        os.fchmod(file, 0o666)
    return file

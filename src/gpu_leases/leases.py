"""Leases: GPUs that a process holds alone until it ends, without a server.

**Files.** A process that wants devices writes a lease: a file of its own, in a folder that all
users share. It says which devices the process could use and, line by line, which it takes. While
the process lives it holds an flock on that file. The lock belongs to the open file, which a process
can hand to a command that it starts. When the last process that has the file open ends, in whatever
way, the system gives the lock back, and the lease counts no more. A grandchild has the file open
only where it inherits open files, as it does from a shell. Therefore `gpu-lease` itself stays
until all descendants of its command have ended.

**Turns.** Two processes that each hold some devices and wait for more could wait for ever, and a
process that needs many devices could be overtaken again and again by those that need one. So a
process waits until no older lease that still waits lists one of its devices, and only then takes
devices, one by one as they come free. Of the processes that compete, therefore, only one at a time
holds a few devices and waits for more.

**Safety.** A process writes down what it takes before it looks at what others have. So of two that
take the same device, whatever the cause, at least one sees the other and gives way.

**Other users.** Every lease is a file of its own with a name that nobody can foresee, which only
its owner may write or remove. What is not a lease is passed over. So nobody can take devices that
another user's process holds. A user can hold devices, or a place in the queue, for as long as he
likes, and a line says for whom one waits.
"""

import contextlib
import errno
import fcntl
import json
import os
import pwd
import secrets
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gpu_leases.devices import VISIBLE, DeviceError, visible_devices
from gpu_leases.lock_folder import READING, open_folder

PREFIX = "gpu-lease-"
POLL_S = 0.05
MAX_POLLS = 20
"""Who is far behind in the queue looks less often, by up to this factor."""

LISTING_SHARE = 0.2
"""Of the time at most this share is spent on listing a folder with many files."""

TELL_AFTER_S = 5.0
TELL_AGAIN_S = 600.0
"""A process that waits says for whom after the one time, and then again after each of the other."""

NO_LEASE = {errno.ENOENT, errno.ESTALE, errno.EACCES, errno.EPERM, errno.EISDIR}
NO_LEASE |= {errno.ELOOP, errno.ENXIO, errno.ENODEV}
"""How the system refuses what is gone, or what is no lease. Any other error, such as that too many
files are open, says nothing of a lease: it is raised, so that no living one is passed over."""

MAX_BYTES = 1 << 16
TAKE, GIVE_BACK, DONE = "take ", "give back ", "done"
"""Beginnings of the lines of a lease. `DONE` says that its process waits for no more devices."""


@dataclass(frozen=True)
class _Seen:
    """What another process's lease says. The names of leases sort by their age."""

    name: str
    user: int
    process: int
    wants: frozenset[str]
    holds: frozenset[str]
    waits: bool


@dataclass
class Lease:
    """Devices that are held until `release`, or until every process with `files` open has ended."""

    folder: int
    name: str
    wants: Sequence[str]
    files: list[int]
    job: str | None
    holds: set[str] = field(default_factory=set)
    known: dict[str, tuple[int, _Seen | None]] = field(default_factory=dict)
    """What was read of each other lease, and how long it was: a lease only grows."""

    listing_s: float = 0.0

    @property
    def devices(self) -> list[str]:
        """The devices, in the order in which they were listed."""
        return [device for device in self.wants if device in self.holds]

    def release(self) -> None:
        """Give the devices back, unless a command that got the open file still runs."""
        if self.files:
            os.close(self.files.pop())
            with contextlib.suppress(OSError):  # whoever sees the file later removes it
                _counts(self.folder, self.name)
            os.close(self.folder)

    def take(self, device: str) -> None:
        self.write(TAKE + device)
        self.holds.add(device)

    def give_back(self, device: str) -> None:
        self.write(GIVE_BACK + device)
        self.holds.remove(device)

    def write(self, line: str) -> None:
        os.write(self.files[0], f"{line}\n".encode())

    def others(self) -> list[_Seen]:
        """The leases with devices that are wanted here or before this one in the queue, by age."""
        seen = [self._read(name) for name in self._names() if name != self.name]
        return [
            one for one in seen if one and self._matters(one) and _counts(self.folder, one.name)
        ]

    def pause(self) -> None:
        """Sleep for as long as suits one's place in the queue."""
        before = sum(name < self.name for name in self._names())
        time.sleep(max(POLL_S * min(1 + before, MAX_POLLS), self.listing_s / LISTING_SHARE))

    def _names(self) -> list[str]:
        began = time.monotonic()
        names = [name for name in os.listdir(self.folder) if name.startswith(PREFIX)]  # noqa: PTH208
        self.listing_s = time.monotonic() - began
        return sorted(names)

    def _read(self, name: str) -> _Seen | None:
        size, seen = self.known.get(name, (-1, None))
        try:
            now = os.stat(name, dir_fd=self.folder, follow_symlinks=False).st_size
        except FileNotFoundError:
            return None
        if now != size:
            seen = _read(self.folder, name, self.job)
            self.known[name] = now, seen
        return seen

    def _matters(self, other: _Seen) -> bool:
        ahead = other.waits and other.name < self.name and not other.wants.isdisjoint(self.wants)
        return ahead or not other.holds.isdisjoint(self.wants)


def take(count: int, environ: Mapping[str, str] = os.environ) -> Lease:
    """Wait until `count` of the visible devices are free, and hold them."""
    devices = visible_devices(environ)
    if count > len(devices):
        where = "Slurm granted" if "SLURM_JOB_ID" in environ else "this machine offers"
        raise DeviceError(
            f"{count} GPUs are asked for, but {where} {len(devices)}"
            f" ({VISIBLE}={environ.get(VISIBLE, 'not set')})"
        )
    lease = _draw(open_folder(environ), devices, environ.get("SLURM_JOB_ID"))
    try:
        _collect(lease, count)
    except BaseException:
        lease.release()
        raise
    return lease


def _draw(folder: int, devices: Sequence[str], job: str | None) -> Lease:
    """Write a lease that holds nothing yet, which is a place in the queue."""
    # The clock is one for all processes of the machine.
    name = f"{PREFIX}{time.monotonic_ns():020d}-{secrets.token_hex(8)}"
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o644, dir_fd=folder)
    os.fchmod(file, 0o644)  # others read it, whatever the umask
    # It is locked before it says anything, so that nobody takes it for that of a dead process.
    fcntl.flock(file, fcntl.LOCK_EX)
    lease = Lease(folder, name, devices, [file], job)
    lease.write(json.dumps({"name": name, "process": os.getpid(), "job": job, "wants": devices}))
    return lease


def _collect(lease: Lease, count: int) -> None:
    """Wait for one's turn, and then for enough devices."""
    wanted = set(lease.wants)
    notice = _Notice()
    while True:
        others = lease.others()
        ahead = [one for one in others if one.waits and one.name < lease.name]
        taken = frozenset[str]().union(*(other.holds for other in others))
        for device in lease.devices if ahead else lease.holds & taken:
            lease.give_back(device)
        if ahead:
            _wait_for(lease, ahead[-1], notice)
            continue
        free = [device for device in lease.wants if device not in taken | lease.holds]
        for device in free[: count - len(lease.holds)]:
            lease.take(device)
        if len(lease.holds) == count:
            taken = frozenset[str]().union(*(other.holds for other in lease.others()))
            if lease.holds.isdisjoint(taken):
                lease.write(DONE)
                return
        else:
            notice.tell([other for other in others if other.holds & wanted], wanted)
        lease.pause()


def _wait_for(lease: Lease, other: _Seen, notice: "_Notice") -> None:
    """Wait until another lease says something new, or counts no more."""
    with _no_lease_is_none(), _opened(lease.folder, other.name) as file:
        size = os.fstat(file).st_size
        while os.fstat(file).st_size == size and not _is_free(file):
            notice.tell([other], set(lease.wants))
            lease.pause()


class _Notice:
    """Says, from time to time, for whom a process waits."""

    def __init__(self) -> None:
        self.due_s = time.monotonic() + TELL_AFTER_S

    def tell(self, others: Sequence[_Seen], wanted: set[str]) -> None:
        if time.monotonic() > self.due_s and others:
            self.due_s = time.monotonic() + TELL_AGAIN_S
            text = "; ".join(_described(other, wanted) for other in others)
            print(f"gpu-lease: waiting for {text}", file=sys.stderr, flush=True)


def _described(other: _Seen, wanted: set[str]) -> str:
    try:
        user = pwd.getpwuid(other.user).pw_name
    except KeyError:
        user = str(other.user)
    has = ", ".join(sorted(other.holds & wanted)) or "none yet"
    queue = ", is ahead in the queue" * other.waits
    return f"process {other.process} of user {user} (GPUs: {has}{queue})"


def _read(folder: int, name: str, job: str | None) -> _Seen | None:
    """What a lease says that counts for this job.

    Other users may leave anything under such a name. What cannot be read as a lease is none.
    """
    try:
        with _no_lease_is_none(), _opened(folder, name) as file:
            status = os.fstat(file)
            if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
                return _parsed(os.pread(file, MAX_BYTES, 0).decode(), name, job, status.st_uid)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        pass
    return None


def _parsed(text: str, name: str, job: str | None, user: int) -> _Seen | None:
    head, *lines = text.split("\n")[:-1] or [""]  # what is behind the last line end is not finished
    said = json.loads(head)
    if said["name"] != name:  # it may be a link to another file
        return None
    # A Slurm job's devices are its own, and the same number may stand for another in another job.
    if said["job"] != job or (job is not None and user != os.geteuid()):
        return None
    holds: set[str] = set()
    for line in lines:
        if line.startswith(TAKE):
            holds.add(line.removeprefix(TAKE))
        elif line.startswith(GIVE_BACK):
            holds.discard(line.removeprefix(GIVE_BACK))
    wants = frozenset(map(str, said["wants"]))
    return _Seen(name, user, int(said["process"]), wants, frozenset(holds), DONE not in lines)


@contextlib.contextmanager
def _no_lease_is_none() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_LEASE:
            raise


@contextlib.contextmanager
def _opened(folder: int, name: str) -> Iterator[int]:
    file = os.open(name, READING, dir_fd=folder)
    try:
        yield file
    finally:
        os.close(file)


def _counts(folder: int, name: str) -> bool:
    """Whether a process lives that holds this lease; if none does, its file is removed."""
    with _no_lease_is_none(), _opened(folder, name) as file:
        if not _is_free(file):
            return True
        os.unlink(name, dir_fd=folder)
    return False


def _is_free(file: int) -> bool:
    """Whether every process that held a lease has ended."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True

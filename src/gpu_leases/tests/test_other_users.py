"""Nobody takes, stops or opens what another user of the machine leases. Run by root."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from other_users import ALICE, BOB, MALLORY, as_user, folder_open_to_all

from gpu_leases import leases
from gpu_leases.leases import take
from gpu_leases.lock_folder import open_folder


def environment(folder: Path) -> dict[str, str]:
    return {"GPU_LEASES": str(folder), "GPU_LEASES_PRETEND": "2"}


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    with folder_open_to_all() as folder:
        yield folder


def put_hurdles(folder: Path, held: Path, secret: Path) -> list[str]:
    """Everything that may stand under the name of a lease; returns what could be done to `held`."""

    def name(number: int) -> Path:
        return folder / f"{leases.PREFIX}{number:020d}-hurdle"

    name(0).mkdir()
    os.mkfifo(name(1))
    name(2).symlink_to(secret)
    name(3).write_text("mine alone")
    name(3).chmod(0)
    contents = [b"", b"\n", b"\xff\xfe\n", b"[1]\n", b"[" * 60_000 + b"\n", b"0" * (1 << 20)]
    said = {"name": name(4).name, "process": 1e999, "job": None, "wants": ["0", "1"]}
    for number, content in enumerate([json.dumps(said).encode() + b"\n", *contents], start=4):
        name(number).write_bytes(content)
        name(number).chmod(0o644)
    attacks: dict[str, Callable[[], object]] = {
        "removed": held.unlink,
        "renamed": lambda: held.rename(folder / "gone"),
        "written": lambda: held.write_text(""),
        "opened": lambda: held.chmod(0o666),
        "replaced": lambda: name(3).replace(held),
    }
    done = []
    for what, attack in attacks.items():
        with contextlib.suppress(OSError):
            attack()
            done.append(what)
    with contextlib.suppress(OSError):  # where the kernel lets anybody link any file
        os.link(held, name(30))
    return done


def test_no_user_takes_or_stops_what_another_one_leases(open_to_all: Path) -> None:
    shared = environment(open_to_all)
    secret = open_to_all / "secret"
    secret.write_text("private")
    secret.chmod(0o600)

    def gets(count: int) -> Callable[[], object]:
        def act() -> object:
            signal.alarm(20)
            lease = take(count, shared)
            said = lease.devices
            lease.release()
            return said

        return act

    stop, stopped = os.pipe()
    ready, say = os.pipe()
    holder = os.fork()
    if holder == 0:
        os.umask(0o077)
        os.setresgid(ALICE, ALICE, ALICE)
        os.setresuid(ALICE, ALICE, ALICE)
        lease = take(1, shared)
        os.write(say, lease.name.encode())
        os.close(stopped)
        os.read(stop, 1)
        os._exit(0)
    held = open_to_all / os.read(ready, 100).decode()
    hurdles = as_user(MALLORY, lambda: put_hurdles(open_to_all, held, secret))
    assert hurdles == "[]"
    assert as_user(BOB, gets(1)) == "['1']"
    os.close(stopped)
    os.waitpid(holder, 0)
    assert as_user(BOB, gets(2)) == "['0', '1']"
    assert as_user(ALICE, gets(2)) == "['0', '1']"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert not held.exists(), "its owner's next lease removes it"


def test_a_folder_of_locks_is_never_a_way_to_a_private_one(open_to_all: Path) -> None:
    private, link = open_to_all / "private", open_to_all / "link"
    assert as_user(ALICE, lambda: private.mkdir(mode=0o700)) == "None"
    assert as_user(MALLORY, lambda: link.symlink_to(private)) == "None"

    def opens(folder: Path) -> Callable[[], object]:
        return lambda: open_folder(environment(folder)) and "opened"

    assert as_user(ALICE, opens(link)) == "LeaseError"
    assert private.stat().st_mode & 0o7777 == 0o700
    assert as_user(ALICE, opens(private)) == "opened"
    assert private.stat().st_mode & 0o7777 == 0o700
    assert as_user(BOB, opens(private)) == "LeaseError"
    made = open_to_all / "below" / "made"
    (made.parent).mkdir(mode=0o777)
    made.parent.chmod(0o1777)
    assert as_user(ALICE, opens(made)) == "opened"
    assert made.stat().st_mode & 0o7777 == 0o1777
    made.chmod(0o777)
    assert as_user(BOB, opens(made)) == "LeaseError", "anybody could remove his locks"
    assert as_user(ALICE, opens(made)) == "opened"
    assert made.stat().st_mode & 0o7777 == 0o1777, "its owner's next call mends it"

"""Run a command to its end, and end the processes that it leaves behind.

A launcher may start each of its processes in a session of its own and close the files that it
inherited. When the launcher dies, those processes live on, and no lock tells of them. So this
process asks Linux to become the parent of every orphan among the command's descendants (a child
subreaper), and can then find and end them.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

import psutil

from gpu_leases.errors import LeaseError

INTERVAL_S = 0.5
GRACE_S = 10.0
"""Between SIGTERM and SIGKILL, for processes that the command leaves behind."""

POLL_S = 0.05
PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
PR_SET_CHILD_SUBREAPER = 36


def run_to_end(
    command: Sequence[str],
    environ: Mapping[str, str],
    files: Sequence[int] = (),
    watch: Callable[[], None] = lambda: None,
) -> int:
    """Run a command until it and all its descendants have ended, and return its exit status.

    As in a shell, the status of a command that a signal ended is 128 plus the signal's number.
    Signals are passed on to the command, and `files` stay open in it. `watch` is called every
    `INTERVAL_S` seconds. Any other children of this process would be ended as well.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        if started:
            started[0].send_signal(number)
        else:
            early.append(number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    try:
        process = subprocess.Popen(command, env=dict(environ), pass_fds=files)
    except OSError as error:
        raise LeaseError(f"{command[0]}: {error.strerror}") from None
    started.append(process)
    for missed in early:
        process.send_signal(missed)
    # On Ctrl-C the terminal interrupts the command itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = None
    while status is None:
        watch()
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(INTERVAL_S)
    _end_descendants()
    return status if status >= 0 else 128 - status


def _end_descendants() -> None:
    deadline_s = time.monotonic() + GRACE_S
    _signal_descendants(signal.SIGTERM)
    while _has_children():
        time.sleep(POLL_S)
        if time.monotonic() > deadline_s:
            _signal_descendants(signal.SIGKILL)


def _signal_descendants(number: signal.Signals) -> None:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def _has_children() -> bool:
    """Whether a descendant is alive; orphans among them have become children of this process."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            continue
    except ChildProcessError:
        return False
    return True

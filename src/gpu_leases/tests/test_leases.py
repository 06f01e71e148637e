"""GPU leases: which devices a process may use, and that nobody else uses them meanwhile."""

from __future__ import annotations

import errno
import os
import pwd
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from threading import Thread

import pytest

from gpu_leases import devices, leases
from gpu_leases.devices import DeviceError, visible_devices
from gpu_leases.leases import take

UUIDS = {"0": "GPU-aaaa1111-00", "1": "GPU-bbbb2222-00", "2": "GPU-bbbb3333-00"}


def environment(folder: Path, gpus: int = 8, **variables: str) -> dict[str, str]:
    return {"GPU_LEASES": str(folder), "GPU_LEASES_PRETEND": str(gpus), **variables}


# ---- devices ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (None, ["0", "1", "2"]),
        ("2,0", ["2", "0"]),
        ("GPU-bbbb2", ["1"]),
        ("GPU-aaaa1111-00, 2, 0", ["0", "2"]),
        ("", []),
        ("1,-1,2", ["1"]),
        ("MIG-aaaa1111-00", ["MIG-aaaa1111-00"]),
    ],
)
def test_an_inherited_list_is_respected(
    monkeypatch: pytest.MonkeyPatch, listed: str | None, expected: list[str]
) -> None:
    monkeypatch.setattr(devices, "_ask_nvidia_smi", lambda: dict(UUIDS))
    assert visible_devices({} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}) == expected


@pytest.mark.parametrize("entry", ["3", "GPU-bbbb", "GPU-cccc", "first"])
def test_an_unknown_or_ambiguous_device_is_named(
    monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setattr(devices, "_ask_nvidia_smi", lambda: dict(UUIDS))
    with pytest.raises(DeviceError, match=f"no device '{entry}', its devices are: 0, 1, 2"):
        visible_devices({"CUDA_VISIBLE_DEVICES": entry})


def test_a_slurm_job_has_what_slurm_granted(tmp_path: Path) -> None:
    granted = environment(tmp_path, 0, SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES="0,1")
    first, beside = take(1, granted), take(1, granted)
    assert first.devices + beside.devices == ["0", "1"]
    # Under the same numbers another job may see other devices.
    second = take(1, granted | {"SLURM_JOB_ID": "8"})
    with pytest.raises(DeviceError, match="1 GPUs are asked for, but Slurm granted 0"):
        take(1, environment(tmp_path, 8, SLURM_JOB_ID="9"))
    for lease in (first, beside, second):
        lease.release()
    assert not list(tmp_path.iterdir())


def test_nvidia_smi_names_the_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-aa'\necho '1, GPU-bb'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.machine_devices({}) == {"0": "GPU-aa", "1": "GPU-bb"}


# ---- leases ----------------------------------------------------------------------------


def test_a_device_is_held_once_and_comes_back(tmp_path: Path) -> None:
    shared = environment(tmp_path, 3)
    first, second = take(2, shared), take(1, shared)
    assert first.devices + second.devices == ["0", "1", "2"]
    assert devices.environment_of(first.devices)["CUDA_VISIBLE_DEVICES"] == "0,1"
    first.release()
    third = take(2, shared | {"CUDA_VISIBLE_DEVICES": "1,0"})
    assert third.devices == ["1", "0"]
    second.release()
    third.release()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_a_lease_that_cannot_be_looked_at_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    shared, opens = environment(tmp_path, 1), os.open
    first = take(1, shared)

    def fails(path: str, *arguments: int, **where: int) -> int:
        if path == first.name:
            raise OSError(number, "not now")
        return opens(path, *arguments, **where)

    with monkeypatch.context() as patched:
        patched.setattr(leases.os, "open", fails)
        with pytest.raises(OSError, match="not now"):
            take(1, shared)
    first.release()
    assert not list(tmp_path.iterdir())


def test_more_devices_than_there_are_fail_at_once(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="9 GPUs are asked for, but this machine offers 8"):
        take(9, environment(tmp_path))


@pytest.mark.parametrize("name", ["one", "other"])
def test_a_temporary_folder_of_ones_own_changes_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    command = "from gpu_leases.lock_folder import lock_folder; print(lock_folder({}))"
    environ = os.environ | {"TMPDIR": str(tmp_path / name)}
    shown = subprocess.run([sys.executable, "-c", command], env=environ, capture_output=True)
    assert shown.stdout == b"/tmp\n"


def lease(folder: Path, gpus: int, *command: str, machine: int = 8) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gpu_leases", "--gpus", str(gpus), "--", *command],
        env={**os.environ, **environment(folder, machine)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_sees_its_devices_and_passes_its_status_on(tmp_path: Path) -> None:
    process = lease(tmp_path, 2, "sh", "-c", "echo $CUDA_VISIBLE_DEVICES; exit 3")
    assert process.communicate()[0] == "0,1\n"
    assert process.returncode == 3


@pytest.mark.parametrize(
    ("gpus", "command", "message"),
    [
        (9, "true", "9 GPUs are asked for, but this machine offers 8"),
        (0, "true", "--gpus: expected at least 1, got 0"),
        (1, "no-such-command", "no-such-command: No such file or directory"),
    ],
)
def test_a_wrong_call_is_one_line(tmp_path: Path, gpus: int, command: str, message: str) -> None:
    process = lease(tmp_path, gpus, command)
    errors = process.communicate()[1]
    assert process.returncode == 2
    assert errors.startswith(f"gpu-lease: error: {message}")
    assert len(errors.splitlines()) == 1


ORPHAN = """
import subprocess, sys
left = "import signal, time; {}; print(flush=True); time.sleep(60)"
left = subprocess.Popen([sys.executable, "-c", left], start_new_session=True, stdout=-1)
left.stdout.read(1)
print(left.pid)
"""
"""A command that ends before a process that it started in a session of its own is there."""

QUICK = (
    "import sys; from gpu_leases import command, run_to_end; run_to_end.GRACE_S = 0.5;"
    " sys.exit(command.main(sys.argv[1:]))"
)


@pytest.mark.parametrize("left", ["pass", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_what_a_command_leaves_behind_ends_before_its_devices_are_free(
    tmp_path: Path, left: str
) -> None:
    command = [sys.executable, "-c", ORPHAN.format(left)]
    result = subprocess.run(
        [sys.executable, "-c", QUICK, "--gpus", "1", "--", *command],
        env=os.environ | environment(tmp_path, 1),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(result.stdout), 0)


def test_a_signal_reaches_the_command(tmp_path: Path) -> None:
    trap = "trap 'exit 5' TERM; echo; sleep 60 & wait"
    with lease(tmp_path, 1, "sh", "-c", trap) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 5


def test_a_command_keeps_its_devices_when_the_lease_is_killed(tmp_path: Path) -> None:
    with lease(tmp_path, 1, "sh", "-c", "echo $$; exec sleep 60", machine=1) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
    with lease(tmp_path, 1, "true", machine=1) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1)
        os.kill(child, signal.SIGKILL)
        assert waiting.wait(20) == 0


def test_only_those_wait_in_line_who_want_the_same_devices(tmp_path: Path) -> None:
    shared = environment(tmp_path)
    order: list[str] = []

    def ask(name: str, visible: str, count: int) -> Thread:
        """Start to wait; returns when the place in the queue is taken, or the devices are."""

        def hold() -> None:
            lease = take(count, shared | {"CUDA_VISIBLE_DEVICES": visible})
            order.append(name)
            lease.release()

        before = len(list(tmp_path.glob(f"{leases.PREFIX}*")))
        thread = Thread(target=hold, daemon=True)
        thread.start()
        while len(list(tmp_path.glob(f"{leases.PREFIX}*"))) == before and name not in order:
            time.sleep(0.01)
        return thread

    holder = take(1, shared | {"CUDA_VISIBLE_DEVICES": "0"})
    first = ask("first", "0,1", 2)
    ask("others", "4,5", 2).join(20)
    second = ask("second", "1,2", 1)
    assert order == ["others"]
    holder.release()
    first.join(20)
    second.join(20)
    assert order == ["others", "first", "second"]


# ---- many jobs, some killed ------------------------------------------------------------

NUM_JOBS = 200
NUM_KILLED = 40


def write_text(path: Path, text: str) -> None:
    """Who reads the file meanwhile finds all of the text, or what was there before."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def job(folder: Path, number: int, gpus: int, duration_s: float) -> None:
    """Hold devices for a while, and note where somebody else still claims one of them."""
    lease = take(gpus)
    claims = [folder / f"claim-{device}" for device in lease.devices]
    for claim in claims:
        # A killed job leaves its claims behind.
        if claim.exists() and not (folder / f"killed-{claim.read_text()}").exists():
            (folder / f"double-{number}").write_text(f"{claim.name} of {claim.read_text()}")
        write_text(claim, str(number))
    time.sleep(duration_s)
    for claim in claims:
        claim.unlink()
    write_text(folder / f"done-{number}", "")


def fork_job(folder: Path, number: int, gpus: int, duration_s: float) -> int:
    """Run `job` in a fork: two hundred interpreters would take a minute to start."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            job(folder, number, gpus, duration_s)
            status = 0
        finally:
            os._exit(status)
    return process


def test_two_hundred_jobs_with_random_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "POLL_S", 0.02)
    monkeypatch.setattr(leases, "TELL_AFTER_S", 600)
    for name, value in environment(tmp_path / "leases").items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    draw, write = leases._draw, leases.Lease.write

    def record_draw(folder: int, wants: Sequence[str], job: str | None) -> leases.Lease:
        lease = draw(folder, wants, job)
        write_text(tmp_path / f"drawn-{lease.name}", str(time.monotonic_ns()))
        return lease

    def record_turn(lease: leases.Lease, line: str) -> None:
        """A place in the queue is given up when the devices are collected."""
        if line == leases.DONE:
            write_text(tmp_path / f"turn-{lease.name}", str(time.monotonic_ns()))
        write(lease, line)

    monkeypatch.setattr(leases, "_draw", record_draw)
    monkeypatch.setattr(leases.Lease, "write", record_turn)
    dice = random.Random(5)
    holder = NUM_JOBS
    jobs = {holder: fork_job(tmp_path, holder, 8, 3600)}
    while not (tmp_path / "claim-7").exists():
        time.sleep(0.01)
    for number in range(NUM_JOBS):
        gpus = dice.choice([1, 2, 4, 8])
        jobs[number] = fork_job(tmp_path, number, gpus, dice.uniform(0.005, 0.05))
    killed = dice.sample(range(NUM_JOBS), NUM_KILLED)
    killed.insert(NUM_KILLED // 2, holder)  # those before it are killed while they wait
    for number in killed:
        time.sleep(dice.uniform(0, 0.05))
        (tmp_path / f"killed-{number}").touch()
        os.kill(jobs[number], signal.SIGKILL)
    deadline = time.monotonic() + 120
    running = dict(jobs)
    while running and time.monotonic() < deadline:
        time.sleep(0.01)
        running = {key: job for key, job in running.items() if os.waitpid(job, os.WNOHANG)[0] == 0}
    for process in running.values():
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    assert not running, f"starved: {sorted(running)}"
    assert not list(tmp_path.glob("double-*"))
    done = {int(path.name.removeprefix("done-")) for path in tmp_path.glob("done-*")}
    assert set(range(NUM_JOBS)) - set(killed) <= done
    assert len(done) < NUM_JOBS, "no kill hit a job"
    everything = take(8)
    assert len(everything.devices) == 8, "a device was lost"
    everything.release()
    turns = {path.name.removeprefix("turn-"): path for path in tmp_path.glob("turn-*")}
    turn_ns = {name: int(path.read_text()) for name, path in turns.items()}
    began_ns = {name: int(name.removeprefix(leases.PREFIX).split("-")[0]) for name in turns}
    stood_ns = {name: int((tmp_path / f"drawn-{name}").read_text()) for name in turns}
    overtaken = [
        (first, second)
        for first, second in permutations(turns, 2)
        if stood_ns[first] < began_ns[second] and turn_ns[first] > turn_ns[second]
    ]
    assert not overtaken, "who came later had its turn before who stood in the queue"


# ---- waiting ---------------------------------------------------------------------------


def test_who_waits_says_for_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leases, "TELL_AFTER_S", 0.1)
    shared = environment(tmp_path, 1)
    holder = take(1, shared)
    waiting = [Thread(target=lambda: take(1, shared).release(), daemon=True) for _ in range(2)]
    for number, thread in enumerate(waiting):
        thread.start()
        while len(list(tmp_path.iterdir())) < number + 2:
            time.sleep(0.01)
    time.sleep(0.5)
    holder.release()
    for thread in waiting:
        thread.join(20)
    me = f"process {os.getpid()} of user {pwd.getpwuid(os.getuid()).pw_name}"
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"gpu-lease: waiting for {me} (GPUs: 0)",
        f"gpu-lease: waiting for {me} (GPUs: none yet, is ahead in the queue)",
    ]

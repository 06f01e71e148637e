"""A real Slurm of one node with eight declared GPUs, from Debian's packages, for tests.

`python tests/support/slurm.py FOLDER` runs one until Ctrl-C, for trying things by hand.

Needs root: it installs packages and writes /etc/slurm, from which it removes its files again.
The devices are nodes that no driver serves: Slurm hands them out, nothing can be computed there.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from support.debian import MissingError, install

NUM_GPUS = 8
NUM_CPUS = 16
MEMORY_MB = 64000
ETC = Path("/etc/slurm")
OURS = {"slurm", "gres"}
MARK = "# written by the tests"
DEVICE = "/dev/vovnet_gpu"
PACKAGES = ("slurmd", "slurmctld", "slurm-client", "munge")
START_LIMIT_S = 60
INSTALL_LIMIT_S = 300

PROLOG = """#!/bin/sh
echo "$SLURM_JOB_ID $SLURM_JOB_GPUS" >> {folder}/devices
"""
"""Run by slurmd before each job: scontrol forgets a job's devices when it ends."""

SLURM_CONF = f"""{MARK}
ClusterName=tests
SlurmctldHost={{host}}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
StateSaveLocation={{folder}}/state
SlurmdSpoolDir={{folder}}/spool
SlurmctldPidFile={{folder}}/slurmctld.pid
SlurmdPidFile={{folder}}/slurmd.pid
ReturnToService=2
MinJobAge=86400
KillWait=5
Prolog={{folder}}/prolog
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
NodeName={{host}} NodeAddr=127.0.0.1 CPUs={NUM_CPUS} RealMemory={MEMORY_MB} Gres=gpu:{NUM_GPUS}
PartitionName=all Nodes={{host}} Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class SlurmJob:
    """What Slurm recorded of a job that has ended. Times have a resolution of a second."""

    rule: str
    state: str
    start: datetime
    end: datetime
    devices: tuple[int, ...]
    memory: str
    """As asked for, such as 800M."""
    time_limit: str
    folder: Path
    """Where it was called."""


@dataclass(frozen=True)
class QueuedJob:
    """A job that has not ended."""

    number: str
    rule: str
    state: str


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[None]:
    """Run the daemons while the block lasts; state, logs and records lie in `folder`."""
    _install()
    if any(MARK not in path.read_text() for path in ETC.glob("*.conf") if path.stem in OURS):
        raise MissingError(f"{ETC} holds a configuration of this machine's own")
    host = _host()
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    ETC.mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.callback(_remove_files)
        (ETC / "slurm.conf").write_text(SLURM_CONF.format(host=host, folder=folder))
        (ETC / "gres.conf").write_text(
            f"{MARK}\nNodeName={host} Name=gpu File={DEVICE}[0-{NUM_GPUS - 1}]\n"
        )
        (folder / "devices").touch()
        (folder / "prolog").write_text(PROLOG.format(folder=folder))
        (folder / "prolog").chmod(0o755)
        _make_devices()
        _start_munge(stack, folder)
        daemons = [
            _start(stack, [name, "-D"], folder / f"{name}.log") for name in ("slurmctld", "slurmd")
        ]
        # Jobs outlive their daemons.
        stack.callback(_cancel_jobs)
        _wait_until_idle(folder, daemons)
        yield


def recorded_jobs(folder: Path) -> list[SlurmJob]:
    """Every job that ever began; all of them must have ended."""
    lines = (folder / "devices").read_text().splitlines()
    granted = dict(line.split(" ", 1) for line in lines)
    text = _output("scontrol", "--oneliner", "show", "job")
    began = (line for line in text.splitlines() if "JobId=" in line)
    return [_parse(line, granted) for line in began if "StartTime=Unknown" not in line]


def queued_jobs() -> list[QueuedJob]:
    """The jobs that wait or run."""
    lines = _output("squeue", "--noheader", "--format=%i|%k|%T").splitlines()
    facts = (line.split("|") for line in lines)
    return [QueuedJob(number, _rule(comment), state) for number, comment, state in facts]


def cancel(job: QueuedJob) -> None:
    _output("scancel", job.number)


def set_node(state: str) -> None:
    """`drain`: whatever runs goes on, nothing starts; `resume` ends that."""
    reason = ["reason=test"] if state == "drain" else []
    _output("scontrol", "update", f"nodename={_host()}", f"state={state}", *reason)


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _rule(comment: str) -> str:
    """The plugin writes rule_<name>_wildcards_<values> into a job's comment."""
    return comment.removeprefix("rule_").partition("_wildcards_")[0]


def _parse(line: str, granted: dict[str, str]) -> SlurmJob:
    facts = dict(re.findall(r"(\w+)=(\S*)", line))
    devices = granted.get(facts["JobId"], "")
    return SlurmJob(
        rule=_rule(facts.get("Comment", "")),
        state=facts["JobState"],
        start=datetime.fromisoformat(facts["StartTime"]),
        end=datetime.fromisoformat(facts["EndTime"]),
        devices=tuple(int(device) for device in devices.split(",") if device),
        memory=facts["MinMemoryNode"],
        time_limit=facts["TimeLimit"],
        folder=Path(facts["WorkDir"]),
    )


def _install() -> None:
    if os.getuid() != 0:
        raise MissingError("a Slurm of the tests' own needs root")
    if all(map(shutil.which, ("slurmctld", "slurmd", "sbatch", "munged"))):
        return
    install("Slurm", PACKAGES, INSTALL_LIMIT_S)


def _make_devices() -> None:
    for number in range(NUM_GPUS):
        try:
            os.mknod(f"{DEVICE}{number}", 0o20666, os.makedev(195, number))
        except FileExistsError:
            continue
        except OSError as error:
            raise MissingError(f"no device node can be made here: {error.strerror}") from None


def _start_munge(stack: ExitStack, folder: Path) -> None:
    if subprocess.run(["munge", "-n"], capture_output=True).returncode == 0:
        return
    run = Path("/run/munge")
    run.mkdir(exist_ok=True)
    run.chmod(0o755)
    shutil.chown(run, "munge", "munge")
    _start(stack, ["runuser", "-u", "munge", "--", "munged", "--foreground"], folder / "munge.log")
    for _ in range(START_LIMIT_S):
        if subprocess.run(["munge", "-n"], capture_output=True).returncode == 0:
            return
        time.sleep(1)
    raise MissingError(f"munge does not start: {(folder / 'munge.log').read_text()[-500:]}")


def _start(stack: ExitStack, command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait_until_idle(folder: Path, daemons: list[subprocess.Popen[bytes]]) -> None:
    for _ in range(START_LIMIT_S):
        if any(daemon.poll() is not None for daemon in daemons):
            break  # as where another Slurm holds their ports, which would answer in their place
        result = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True
        )
        if result.stdout.strip() == "idle":
            return
        time.sleep(1)
    logs = "\n".join(path.read_text()[-1000:] for path in sorted(folder.glob("slurm*.log")))
    raise MissingError(f"Slurm's node does not become idle:\n{logs}")


def _cancel_jobs() -> None:
    subprocess.run(["scancel", "--user", str(os.getuid())], capture_output=True)
    for _ in range(START_LIMIT_S):
        listed = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True).stdout
        if not listed.strip():
            return
        time.sleep(1)


def _remove_files() -> None:
    for name in OURS:
        (ETC / f"{name}.conf").unlink(missing_ok=True)
    for number in range(NUM_GPUS):
        Path(f"{DEVICE}{number}").unlink(missing_ok=True)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


if __name__ == "__main__":
    with slurm_cluster(Path(sys.argv[1])):
        print("Slurm runs until Ctrl-C", flush=True)
        signal.pause()

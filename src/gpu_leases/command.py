"""`gpu-lease`: run a command on GPUs that nobody else uses while it runs."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_leases.devices import environment_of
from gpu_leases.errors import LeaseError
from gpu_leases.gpu_record import open_recorder
from gpu_leases.leases import Lease, take
from gpu_leases.run_to_end import run_to_end

DESCRIPTION = (
    "Wait for free GPUs and run a command on them, as in: gpu-lease --gpus 2 -- command ... The"
    " command finds its devices in CUDA_VISIBLE_DEVICES. They are free again when it has ended."
    " Processes that it leaves behind are ended first."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of a call; returns its exit status, or 2 where the call was wrong."""
    parser = argparse.ArgumentParser(prog="gpu-lease", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--gpus", type=int, required=True, metavar="N", help="how many devices")
    told = "JSON of the devices' memory and utilisation"
    parser.add_argument("--record", type=Path, metavar="FILE", help=told)
    parser.add_argument("command", nargs="+", help="after --: the command and its arguments")
    args = parser.parse_args(argv)
    try:
        return run_leased(args.gpus, args.command, args.record)
    except LeaseError as error:
        line = str(error)
    except OSError as error:
        line = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    print(f"gpu-lease: error: {line}", file=sys.stderr)
    return 2


def run_leased(gpus: int, command: Sequence[str], record: Path | None = None) -> int:
    """Run a command on so many devices of its own; returns its exit status."""
    if gpus < 1:
        raise LeaseError(f"--gpus: expected at least 1, got {gpus}")
    held = take(gpus)
    try:
        return _run_on(held, command, record)
    finally:
        held.release()


def _run_on(held: Lease, command: Sequence[str], record: Path | None) -> int:
    environ = os.environ | environment_of(held.devices)
    recorder = open_recorder(held.devices) if record else None
    if record is None or recorder is None:
        return run_to_end(command, environ, held.files)
    began = time.monotonic()
    status = run_to_end(command, environ, held.files, recorder.sample)
    recorder.write(record, time.monotonic() - began)
    return status

"""`vovnet lease`: run a command on GPUs that nobody else uses meanwhile."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from vovnet.errors import VovnetError
from vovnet.leases import Lease, take

HELP = """wait for free GPUs and run a command on them: vovnet lease --gpus 2 -- command ...
The command finds its devices in CUDA_VISIBLE_DEVICES and holds them until it ends."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpus", type=int, required=True, metavar="N", help="how many devices")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="JSON of each device's model, peak memory and utilisation; without a driver, none",
    )
    parser.add_argument("command", nargs="+", help="after --: the command and its arguments")


def run(args: argparse.Namespace) -> None:
    if args.gpus < 1:
        raise VovnetError(f"--gpus: expected at least 1, got {args.gpus}")
    lease = take(args.gpus)
    try:
        _run_on(lease, args.command, args.record)
    except OSError as error:
        raise VovnetError(f"{args.command[0]}: {error.strerror}") from None


def _run_on(lease: Lease, command: list[str], record: Path | None) -> None:
    environ = os.environ | lease.environment()
    if record is not None:
        from vovnet.gpu_record import open_recorder, run_recorded

        recorder = open_recorder(lease.devices)
        if recorder is not None:
            sys.exit(run_recorded(recorder, record, command, environ, lease.files))
    lease.keep_through_exec()
    sys.stdout.flush()
    os.execvpe(command[0], command, environ)

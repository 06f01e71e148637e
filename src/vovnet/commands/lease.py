"""`vovnet lease`: run a command on GPUs that nobody else uses meanwhile."""

from __future__ import annotations

import argparse
import os
import sys

from vovnet.errors import VovnetError
from vovnet.leases import take

HELP = """wait for free GPUs and run a command on them: vovnet lease --gpus 2 -- command ...
The command finds its devices in CUDA_VISIBLE_DEVICES and holds them until it ends."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpus", type=int, required=True, metavar="N", help="how many devices")
    parser.add_argument("command", nargs="+", help="after --: the command and its arguments")


def run(args: argparse.Namespace) -> None:
    if args.gpus < 1:
        raise VovnetError(f"--gpus: expected at least 1, got {args.gpus}")
    lease = take(args.gpus)
    lease.keep_through_exec()
    sys.stdout.flush()
    try:
        os.execvpe(args.command[0], args.command, os.environ | lease.environment())
    except OSError as error:
        raise VovnetError(f"{args.command[0]}: {error.strerror}") from None

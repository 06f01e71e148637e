"""`vovnet lease`: run a command on GPUs that nobody else uses while it runs."""

import argparse
import os
import sys
import time
from pathlib import Path

from vovnet.commands.common import Flag, command
from vovnet.core.errors import VovnetError
from vovnet.machine.devices import environment_of
from vovnet.machine.gpu_record import open_recorder
from vovnet.machine.leases import Lease, take
from vovnet.machine.run_to_end import run_to_end


@command(
    "wait for free GPUs and run a command on them: vovnet lease --gpus 2 -- command ... The"
    " command finds its devices in CUDA_VISIBLE_DEVICES. They are free again when it has ended."
    " Processes that it leaves behind are ended first.",
    Flag("--gpus", type=int, required=True, metavar="N", help="how many devices"),
    Flag("--record", type=Path, metavar="FILE", help="JSON of the devices' memory and utilisation"),
    Flag("command", nargs="+", help="after --: the command and its arguments"),
)
def lease(args: argparse.Namespace) -> None:
    if args.gpus < 1:
        raise VovnetError(f"--gpus: expected at least 1, got {args.gpus}")
    held = take(args.gpus)
    try:
        status = _run_on(held, args.command, args.record)
    finally:
        held.release()
    sys.exit(status)


def _run_on(held: Lease, command: list[str], record: Path | None) -> int:
    environ = os.environ | environment_of(held.devices)
    recorder = open_recorder(held.devices) if record else None
    if record is None or recorder is None:
        return run_to_end(command, environ, held.files)
    began = time.monotonic()
    status = run_to_end(command, environ, held.files, recorder.sample)
    recorder.write(record, time.monotonic() - began)
    return status

"""`vovnet lease`: run a command on GPUs that nobody else uses while it runs."""

import argparse
import sys
from pathlib import Path

from gpu_leases.command import run_leased
from vovnet.commands.common import Flag, command


@command(
    "wait for free GPUs and run a command on them: vovnet lease --gpus 2 -- command ... The"
    " command finds its devices in CUDA_VISIBLE_DEVICES. They are free again when it has ended."
    " Processes that it leaves behind are ended first. It is the command gpu-lease.",
    Flag("--gpus", type=int, required=True, metavar="N", help="how many devices"),
    Flag("--record", type=Path, metavar="FILE", help="JSON of the devices' memory and utilisation"),
    Flag("command", nargs="+", help="after --: the command and its arguments"),
)
def lease(args: argparse.Namespace) -> None:
    sys.exit(run_leased(args.gpus, args.command, args.record))

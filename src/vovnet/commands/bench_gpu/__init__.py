"""`vovnet bench_gpu`: what a card does with the configured model, beside a product of matrices."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.commands.common import Flag, configured, count, folder

if TYPE_CHECKING:
    from vovnet.config import Settings


@configured(
    "Measure training, observation and live answers of the configured model on this machine's GPU,"
    " with random weights, and write bench_gpu.json, bench_gpu.md and a figure. Under torchrun it"
    " measures training alone, and adds how much of one card's speed each of several keeps.",
    Flag("--output", type=folder, default=Path("bench_gpu"), metavar="DIR", help="the results"),
    Flag("--steps", type=count, default=16, metavar="N", help="optimizer steps of each stage"),
    Flag("--questions", type=count, default=1024, metavar="N", help="questions to observe"),
    Flag("--training_only", action="store_true", help="leave out observing and answering"),
)
def bench_gpu(settings: "Settings", args: argparse.Namespace) -> None:
    from vovnet.commands.bench_gpu.run import run_bench_gpu

    run_bench_gpu(settings, args)

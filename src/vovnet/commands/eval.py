"""`vovnet eval`: one checkpoint, one policy or a sweep of lambda_cost, by hand."""

from __future__ import annotations

import argparse

from vovnet.commands import by_hand
from vovnet.commands.common import number

HELP = "evaluate a checkpoint under the configured policy; --pareto sweeps lambda_cost"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    by_hand.add_arguments(parser)
    parser.add_argument(
        "--pareto", type=number, nargs="+", metavar="LAMBDA", help="values of lambda_cost to sweep"
    )


def run(args: argparse.Namespace) -> None:
    by_hand.evaluate_checkpoint(args, {}, {"lambda_cost": args.pareto} if args.pareto else {})
    print(args.output_dir / "results.csv")

"""`vovnet pareto_threshold`: look where the text pass is unsure, over several thresholds."""

from __future__ import annotations

import argparse

from vovnet.commands import by_hand
from vovnet.commands.common import number

HELP = "sweep the uncertainty threshold of a checkpoint; writes pareto_threshold.csv and .json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    by_hand.add_arguments(parser)
    by_hand.add_output_prefix(parser)
    parser.add_argument(
        "--thresholds",
        type=number,
        nargs="+",
        required=True,
        metavar="T",
        help="values of baseline_threshold to sweep",
    )
    parser.add_argument(
        "--uncertainty",
        choices=("entropy", "margin"),
        default="entropy",
        help="entropy in nats (look above T), or probability margin (look below T)",
    )
    parser.add_argument(
        "--vision", choices=("coarse", "full"), default="full", help="the view taken when unsure"
    )


def run(args: argparse.Namespace) -> None:
    policy = {
        "baseline_name": "uncertainty_threshold",
        "baseline_uncertainty": args.uncertainty,
        "baseline_vision": args.vision,
    }
    by_hand.evaluate_checkpoint(args, policy, {"baseline_threshold": args.thresholds})
    by_hand.rename_results(args)
    print(args.output_dir / "pareto_threshold.csv")

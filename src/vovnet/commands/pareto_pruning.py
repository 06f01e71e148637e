"""`vovnet pareto_pruning`: FULL with a share of its vision tokens, over several shares."""

from __future__ import annotations

import argparse

from vovnet.commands import by_hand
from vovnet.commands.sweeps import ratio

HELP = "sweep the pruning of a checkpoint's FULL view; writes pareto_pruning.csv and .json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    by_hand.add_arguments(parser)
    by_hand.add_output_prefix(parser)
    parser.add_argument(
        "--ratios",
        type=ratio,
        nargs="+",
        required=True,
        metavar="R",
        help="shares of the vision tokens that are kept, each above 0 and up to 1",
    )
    parser.add_argument(
        "--mode",
        choices=("stride", "topk_norm"),
        default="stride",
        help="keep evenly spaced tokens, or those of the largest norm",
    )


def run(args: argparse.Namespace) -> None:
    policy = {
        "baseline_name": "vision_token_pruning_proxy",
        "baseline_pruning_mode": args.mode,
    }
    by_hand.evaluate_checkpoint(args, policy, {"baseline_pruning_ratio": args.ratios})
    by_hand.rename_results(args)
    print(args.output_dir / "pareto_pruning.csv")

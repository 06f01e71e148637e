"""`vovnet pareto_granularity`: FULL with its token grid pooled, over several factors."""

from __future__ import annotations

import argparse

from vovnet.commands import by_hand
from vovnet.commands.sweeps import listed, whole

HELP = "sweep the pooling of a checkpoint's token grid; writes pareto_granularity.csv and .json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    by_hand.add_arguments(parser)
    by_hand.add_output_prefix(parser)
    parser.add_argument(
        "--pooling_list",
        type=listed(whole),
        required=True,
        metavar="F,F,...",
        help="sides of the squares of tokens that are averaged, as in 1,2,4",
    )


def run(args: argparse.Namespace) -> None:
    policy = {"baseline_name": "multi_granularity_proxy"}
    by_hand.evaluate_checkpoint(args, policy, {"baseline_pool_factor": args.pooling_list})
    by_hand.rename_results(args)
    print(args.output_dir / "pareto_granularity.csv")

"""`vovnet pareto_merge`: FULL with similar vision tokens averaged, over several shares."""

from __future__ import annotations

import argparse

from vovnet.commands import by_hand
from vovnet.commands.sweeps import listed, ratio, switch

HELP = "sweep the merging of a checkpoint's vision tokens; writes pareto_merge.csv and .json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    by_hand.add_arguments(parser)
    by_hand.add_output_prefix(parser)
    parser.add_argument(
        "--merge_ratio_list",
        type=listed(ratio),
        required=True,
        metavar="R,R,...",
        help="shares of the vision tokens that merging leaves, as in 0.25,0.5,0.75,1.0",
    )
    parser.add_argument(
        "--merge_mode",
        choices=("cosine", "l2"),
        default="cosine",
        help="tokens are alike by the cosine between them, or by their L2 distance",
    )
    parser.add_argument(
        "--merge_weight",
        choices=("norm", "uniform"),
        default="norm",
        help="weight of a token in the mean: its norm, or the same for all",
    )
    parser.add_argument(
        "--enable_prune",
        type=switch,
        default=False,
        metavar="true|false",
        help="prune what merging left, by policy.baseline_pruning_ratio and _mode",
    )


def run(args: argparse.Namespace) -> None:
    policy = {
        "baseline_name": "token_merge_prune_proxy",
        "baseline_merge_mode": args.merge_mode,
        "baseline_merge_weight": args.merge_weight,
        "baseline_enable_prune": args.enable_prune,
    }
    by_hand.evaluate_checkpoint(args, policy, {"baseline_merge_ratio": args.merge_ratio_list})
    by_hand.rename_results(args)
    print(args.output_dir / "pareto_merge.csv")

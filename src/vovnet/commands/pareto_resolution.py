"""`vovnet pareto_resolution`: the image at several sizes."""

from __future__ import annotations

import argparse

from vovnet.commands import by_hand
from vovnet.commands.sweeps import listed, whole

HELP = "sweep the size at which a checkpoint sees images; writes pareto_resolution.csv and .json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    by_hand.add_arguments(parser)
    by_hand.add_output_prefix(parser)
    parser.add_argument(
        "--vision_budget_list",
        type=listed(whole),
        required=True,
        metavar="N,N,...",
        help="longest sides or areas in pixels, as in 224,336,448,560; images never grow",
    )
    parser.add_argument(
        "--budget_mode",
        choices=("long_side", "max_pixels"),
        default="long_side",
        help="what the list limits: the longest side, or the area",
    )


def run(args: argparse.Namespace) -> None:
    policy = {
        "baseline_name": "resolution_scaling_proxy",
        "baseline_budget_mode": args.budget_mode,
    }
    sweep = {f"baseline_{args.budget_mode}": args.vision_budget_list}
    by_hand.evaluate_checkpoint(args, policy, sweep)
    by_hand.rename_results(args)
    print(args.output_dir / "pareto_resolution.csv")

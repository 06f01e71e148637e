"""`vovnet gather`: the shards of an observation as one."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "join the eval.num_shards shards of an observation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--run", required=True, help="a key of runs")
    parser.add_argument("--seed", type=int, required=True, help="the seed it was trained with")
    parser.add_argument("--dataset", required=True, help="a key of data.eval_sets, or router_fit")
    parser.add_argument(
        "--views", nargs="+", metavar="VIEW", help="further views, instead of the actions"
    )


def run(args: argparse.Namespace) -> None:
    from vovnet.inference.shards import gather
    from vovnet.pipeline.trained_model import TrainedModel

    settings = load_settings(args)
    trained = TrainedModel(settings, settings.layout, args.run, args.seed)
    gather(trained, args.dataset, args.views or ())

"""`vovnet observe`: a trained model on every view of a set, or on further ones."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings, shard_argument

HELP = "run a trained model on every view of a set; a killed call continues where it was"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--run", required=True, help="a key of runs")
    parser.add_argument("--seed", type=int, required=True, help="the seed it was trained with")
    parser.add_argument("--dataset", required=True, help="a key of data.eval_sets, or router_fit")
    parser.add_argument(
        "--shard",
        type=shard_argument,
        default=(0, 1),
        metavar="I/N",
        help="part I (from 0) of N; all if left out",
    )
    parser.add_argument(
        "--views",
        nargs="+",
        metavar="VIEW",
        help="further views such as full+prune-stride-0.5, instead of the actions",
    )


def run(args: argparse.Namespace) -> None:
    from vovnet.core.progress import progress
    from vovnet.inference.observe import observe_shard
    from vovnet.pipeline.trained_model import TrainedModel

    settings = load_settings(args)
    trained = TrainedModel(settings, settings.layout, args.run, args.seed)
    shard, num_shards = args.shard
    with progress("observing blocks") as on_block:
        observe_shard(trained, args.dataset, shard, num_shards, args.views or (), on_block)

"""`vovnet synthesize` renders a dataset of the synthetic world in its original's raw layout."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "render a synthetic dataset as the raw files that its original has"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--dataset", required=True, help="a key of data.datasets, source synthetic")


def run(args: argparse.Namespace) -> None:
    from vovnet.data.world.render import synthesize

    for split, count in synthesize(load_settings(args), args.dataset).items():
        print(f"{args.dataset}/{split}: {count} questions")

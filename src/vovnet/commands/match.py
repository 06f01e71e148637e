"""`vovnet match`: the action ratios that a random policy copies."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "read the action ratios of another experiment's results and write matched.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--experiment", required=True, help="a key of experiments that has a key 'match'"
    )


def run(args: argparse.Namespace) -> None:
    from vovnet.evaluation.match import write_matched
    from vovnet.evaluation.matched import matched_path

    settings = load_settings(args)
    layout = settings.layout
    write_matched(settings, layout, args.experiment)
    print(matched_path(layout, args.experiment))

"""`vovnet hull_metrics`: every policy against random mixing of the fixed ones."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings, report_layout

HELP = "compare every replayed experiment with the mixing hull: hull_metrics.csv, curves.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.evaluation.hull_metrics import hull_metrics

    settings = load_settings(args)
    for path in hull_metrics(settings, report_layout(settings)):
        print(path)

"""`vovnet hull_metrics`: every policy against random mixing of the fixed ones."""

from __future__ import annotations

import argparse
from pathlib import Path

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "compare every replayed experiment with the mixing hull: hull_metrics.csv, curves.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.hull import hull_metrics
    from vovnet.layout import Layout

    settings = load_settings(args)
    for path in hull_metrics(settings, Layout(Path(settings.results_dir))):
        print(path)

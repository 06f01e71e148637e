"""`vovnet figures`: the paper's figures as .pdf and .png."""

from __future__ import annotations

import argparse
from pathlib import Path

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "draw the paper's figures from the results of every experiment"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.layout import Layout
    from vovnet.report.figures import write_figures

    settings = load_settings(args)
    for path in write_figures(settings, Layout(Path(settings.results_dir))):
        print(path)

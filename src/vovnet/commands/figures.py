"""`vovnet figures`: the paper's figures as .pdf and .png."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings, report_layout

HELP = "draw the paper's figures from the results of every experiment"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.report.figures import write_figures

    settings = load_settings(args)
    for path in write_figures(settings, report_layout(settings)):
        print(path)

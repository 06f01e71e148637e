"""`vovnet tables`: the paper's tables as .csv, .md and .tex."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings, report_layout

HELP = "write the paper's tables from the results of every experiment"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.report.tables import write_tables

    settings = load_settings(args)
    for path in write_tables(settings, report_layout(settings)):
        print(path)

"""`vovnet ablation_table`: every ablation beside the default."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings, report_layout

HELP = "compare every ablation with the default; writes the table of ablations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.report.ablations import write_ablations

    settings = load_settings(args)
    for path in write_ablations(settings, report_layout(settings)):
        print(path)

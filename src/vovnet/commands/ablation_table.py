"""`vovnet ablation_table`: every ablation beside the default."""

from __future__ import annotations

import argparse
from pathlib import Path

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "compare every ablation with the default; writes the table of ablations"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.layout import Layout
    from vovnet.report.ablations import write_ablations

    settings = load_settings(args)
    for path in write_ablations(settings, Layout(Path(settings.results_dir))):
        print(path)

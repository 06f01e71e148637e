"""`vovnet reliability`: tables and figure of where VoVNet errs."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings, report_layout

HELP = "write the tables and the figure of errors, calibration and fallbacks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.report.reliability import write_reliability

    settings = load_settings(args)
    for path in write_reliability(settings, report_layout(settings)):
        print(path)

"""`vovnet sanity`: check that the results are what they must be."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings, report_layout

HELP = "check the results; fails if one of them cannot be right"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.report.checks import write_sanity

    settings = load_settings(args)
    checks = write_sanity(settings, report_layout(settings))
    for check in checks:
        if not check.passed:
            word = "not run" if check.passed is None else "expectation not met"
            print(f"{word}: {check.block} {check.name}: {check.numbers.removeprefix('not run: ')}")
    print(f"{sum(check.passed is True for check in checks)} of {len(checks)} checks pass")

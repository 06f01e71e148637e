"""The commands that write a report: each calls one function with the settings and the layout."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib import import_module

from vovnet.commands.common import add_config_arguments, load_settings


@dataclass(frozen=True)
class ReportCommand:
    """A command whose work is done by `writer`, a function of the module, which returns paths."""

    HELP: str
    module: str
    writer: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_config_arguments(parser)

    def run(self, args: argparse.Namespace) -> None:
        """Write the files and print their paths."""
        settings = load_settings(args)
        write = getattr(import_module(self.module), self.writer)
        for path in write(settings, settings.layout):
            print(path)


class SanityCommand(ReportCommand):
    """The sanity checks, of which those that do not pass are printed instead of paths."""

    def run(self, args: argparse.Namespace) -> None:
        """Run every check; a broken invariant is an error."""
        from vovnet.report.checks import write_sanity

        settings = load_settings(args)
        checks = write_sanity(settings, settings.layout)
        for check in checks:
            if not check.passed:
                word = "not run" if check.passed is None else "expectation not met"
                numbers = check.numbers.removeprefix("not run: ")
                print(f"{word}: {check.block} {check.name}: {numbers}")
        print(f"{sum(check.passed is True for check in checks)} of {len(checks)} checks pass")


HULL_METRICS = ReportCommand(
    "compare every replayed experiment with the mixing hull: hull_metrics.csv, curves.csv",
    "vovnet.evaluation.hull_metrics",
    "hull_metrics",
)
TABLES = ReportCommand(
    "write the paper's tables from the results of every experiment",
    "vovnet.report.tables",
    "write_tables",
)
FIGURES = ReportCommand(
    "draw the paper's figures from the results of every experiment",
    "vovnet.report.figures",
    "write_figures",
)
SANITY = SanityCommand(
    "check the results; fails if one of them cannot be right",
    "vovnet.report.checks",
    "write_sanity",
)
RELIABILITY = ReportCommand(
    "write the tables and the figure of errors, calibration and fallbacks",
    "vovnet.report.reliability",
    "write_reliability",
)
ABLATION_TABLE = ReportCommand(
    "compare every ablation with the default; writes the table of ablations",
    "vovnet.report.ablations",
    "write_ablations",
)
PAPER_PDF = ReportCommand(
    "compile a document of every table and figure of the report; needs TeX",
    "vovnet.report.document",
    "write_document",
)

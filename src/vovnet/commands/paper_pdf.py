"""`vovnet paper_pdf`: every table and figure of a report in one document."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings, report_layout

HELP = "compile a document of every table and figure of the report; needs TeX"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.report.document import write_document

    settings = load_settings(args)
    print(write_document(settings, report_layout(settings)))

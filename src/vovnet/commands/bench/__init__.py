"""`vovnet bench`: measure ways of doing the same side by side, and compare what they cost."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "measure how much time and how many model passes this design saves, side by side"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.commands.bench.all_parts import run_bench
    from vovnet.core.progress import progress

    settings = load_settings(args)
    layout = settings.layout
    run_bench(settings, layout, progress)
    print((layout.bench / "bench.md").read_text(encoding="utf-8"))

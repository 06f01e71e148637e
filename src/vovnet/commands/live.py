"""`vovnet live`: an experiment sample by sample, with timings."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "run an experiment of mode live, sample by sample; `vovnet evaluate` scores the answers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--experiment", required=True, help="a key of experiments, mode: live")


def run(args: argparse.Namespace) -> None:
    from vovnet.core.progress import progress
    from vovnet.inference.live import live_experiment

    settings = load_settings(args)
    with progress("answering") as on_sample:
        live_experiment(settings, settings.layout, args.experiment, on_sample)

"""`vovnet evaluate`: an experiment from stored observations, or from a live run."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "score what was observed or answered live: results.csv, summary.json, samples.parquet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--experiment", required=True, help="a key of experiments")


def run(args: argparse.Namespace) -> None:
    from vovnet.evaluation.experiment import evaluate_experiment

    settings = load_settings(args)
    layout = settings.layout
    evaluate_experiment(settings, layout, args.experiment)
    print(layout.eval(args.experiment) / "results.csv")

"""`vovnet error_slices`: where a policy errs, of an experiment or of a checkpoint by hand."""

from __future__ import annotations

import argparse

from vovnet.commands import by_hand
from vovnet.commands.common import load_settings
from vovnet.core.errors import ConfigError

HELP = "accuracy, entropy, cost and false skips per action and per field of the dataset"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiment", help="a key of experiments that is evaluated already")
    by_hand.add_arguments(parser, required=False)


def run(args: argparse.Namespace) -> None:
    from vovnet.evaluation.error_slices import write_error_slices

    by_checkpoint = (args.checkpoint, args.output_dir)
    if args.experiment is not None and by_checkpoint == (None, None):
        settings = load_settings(args)
        layout, name = settings.layout, args.experiment
    elif args.experiment is None and None not in by_checkpoint:
        settings, layout = by_hand.evaluate_checkpoint(args, {}, {})
        name = by_hand.EXPERIMENT
        if settings.eval.profile:  # a live run stores no observations
            by_hand.observe_missing(settings, layout)
    else:
        raise ConfigError("error_slices: expected --experiment, or --checkpoint and --output_dir")
    for path in write_error_slices(settings, layout, name):
        print(path)

"""`vovnet prepare` turns one split of a raw dataset into unified samples."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "turn one split of a raw dataset into unified samples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--dataset", required=True, help="a key of data.datasets")
    parser.add_argument("--split", required=True, help="a key of the dataset's files")


def run(args: argparse.Namespace) -> None:
    from vovnet.data.prepare import prepare

    settings = load_settings(args)
    layout = settings.layout
    counts = prepare(settings, args.dataset, args.split, layout)
    print(f"{layout.samples(args.dataset, args.split)}: {counts['num_samples']} samples, ", end="")
    print(f"{counts['num_images']} images")
    for reason, count in counts["skipped"].items():
        print(f"skipped: {count} ({reason})")

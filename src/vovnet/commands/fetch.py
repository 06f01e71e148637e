"""`vovnet fetch` downloads the files of a dataset of the hub and checks them."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "download a dataset of the hub (source: hub) at its revision and check its files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--dataset", required=True, help="a key of data.datasets, source hub")


def run(args: argparse.Namespace) -> None:
    from vovnet.data.hub import fetch

    facts = fetch(load_settings(args), args.dataset)
    size = sum(file["size"] for file in facts["files"].values())
    print(
        f"{args.dataset}: {facts['repo_id']}@{facts['commit']}, "
        f"{len(facts['files'])} files, {size / 1e6:.1f} MB"
    )

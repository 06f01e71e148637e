"""`vovnet leakage` is the gate that stands before training."""

from __future__ import annotations

import argparse

from vovnet.commands.common import add_config_arguments, load_settings

HELP = "compare the training mix with the evaluation sets; exit 2 on a hit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.data.leakage import KINDS, check_leakage

    settings = load_settings(args)
    layout = settings.layout
    report = check_leakage(settings, layout)
    for name, compared in report["sets"].items():
        counts = ", ".join(f"{kind} {compared[kind]['count']}" for kind in KINDS)
        print(f"{name}: {compared['num_samples']} samples, shared with training: {counts}")
    print(f"report: {layout.leakage_report}")

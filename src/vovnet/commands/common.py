"""Arguments that the commands share."""

from __future__ import annotations

import argparse
import math

from vovnet.config import Settings, load


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and `--dataset_config`, both repeatable; later files win."""
    parser.add_argument(
        "--config",
        action="append",
        required=True,
        metavar="FILE",
        help="YAML with settings; repeat it to layer files, later ones win",
    )
    parser.add_argument(
        "--dataset_config",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML layered on top of every --config; may be repeated",
    )


def load_settings(args: argparse.Namespace) -> Settings:
    """The settings of `--config` and `--dataset_config`, merged and validated."""
    return load([*args.config, *args.dataset_config])


def number(text: str) -> float:
    """A number, infinity included, as an argument type; argparse names the argument."""
    value = float(text)
    if math.isnan(value):
        raise ValueError(text)
    return value


def count(text: str) -> int:
    """A whole number from 1, as an argument type."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def shard_argument(text: str) -> tuple[int, int]:
    """`I/N`, the part I (from 0) of N, as an argument type."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 0 to N-1, got {text!r}")
    return int(index), int(count)

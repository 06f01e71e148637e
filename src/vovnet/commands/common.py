"""What a command is, and the flags and kinds of arguments that commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.core.checks import expanded_path, folder_fault, repeated

if TYPE_CHECKING:
    from vovnet.config import Settings


class Flag:
    """An argument by its name; `facts` such as `type` and `help` go to argparse."""

    def __init__(self, name: str, **facts: Any) -> None:
        self.name, self.facts = name, facts


@dataclass(frozen=True)
class Command:
    """What `--help` tells of a command, its flags, and what it does with the parsed arguments."""

    description: str
    flags: Sequence[Flag]
    run: Callable[[argparse.Namespace], None]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        for flag in self.flags:
            parser.add_argument(flag.name, **flag.facts)


CONFIG = (
    Flag(
        "--config",
        action="append",
        required=True,
        metavar="FILE",
        help="YAML with settings; repeat it to layer files, later ones win",
    ),
    Flag(
        "--dataset_config",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML layered on top of every --config; may be repeated",
    ),
)


def command(description: str, *flags: Flag) -> Callable[..., Command]:
    """Make a command of a function of the parsed arguments."""
    return partial(Command, description, flags)


def configured(description: str, *flags: Flag) -> Callable[..., Command]:
    """Make a command of a function of the settings, which `CONFIG` names, and the arguments."""

    def decorate(work: Callable[[Settings, argparse.Namespace], None]) -> Command:
        def run(args: argparse.Namespace) -> None:
            work(load_settings(args), args)

        return Command(description, (*CONFIG, *flags), run)

    return decorate


def load_settings(args: argparse.Namespace) -> Settings:
    """The settings of `--config` and `--dataset_config`, merged and validated."""
    from vovnet.config import load

    return load([*args.config, *args.dataset_config])


def number(text: str) -> float:
    """A number, infinity included, as an argument type; argparse names the argument."""
    value = float(text)
    if math.isnan(value):
        raise ValueError(text)
    return value


def count(text: str) -> int:
    """A whole number from 1, as an argument type."""
    if not text.isdecimal() or len(text) > 18 or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def folder(text: str) -> Path:
    """A folder in which something can be written, as an argument type."""
    try:
        path = Path(expanded_path(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, got {text!r}") from None
    if fault := folder_fault(path):
        raise argparse.ArgumentTypeError(fault)
    return path


class Distinct(argparse.Action):
    """Takes a list of values, each of which must stand in it once."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if (twice := repeated(values)) is not None:
            raise argparse.ArgumentError(self, f"expected each value once, got {twice} twice")
        setattr(namespace, self.dest, values)


def shard_argument(text: str) -> tuple[int, int]:
    """`I/N`, the part I (from 0) of N, as an argument type."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 0 to N-1, got {text!r}")
    return int(index), int(count)

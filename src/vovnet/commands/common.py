"""What a command is, and the flags and kinds of arguments that commands share."""

from __future__ import annotations

import argparse
import math
import os
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
    Flag(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting, such as policy.baseline_name=always_full, which wins over every file; may"
        " be repeated",
    ),
)


def command(description: str, *flags: Flag) -> Callable[..., Command]:
    """Make a command of a function of the parsed arguments."""
    return partial(Command, description, flags)


def configured(description: str, *flags: Flag) -> Callable[..., Command]:
    """Make a command of a function of the settings, which `CONFIG` names, and the arguments."""

    def decorate(work: Callable[[Settings, argparse.Namespace], None]) -> Command:
        def run(args: argparse.Namespace) -> None:
            into_project(args)
            work(load_settings(args), args)

        return Command(description, (*CONFIG, *flags), run)

    return decorate


def load_settings(args: argparse.Namespace) -> Settings:
    """The settings of `--config`, `--dataset_config` and `--set`, merged and validated."""
    from vovnet.config import load

    return load([*args.config, *args.dataset_config], args.set)


def into_project(args: argparse.Namespace) -> None:
    """Work in the project to which the configuration belongs, when called from another folder.

    Relative paths in a configuration are those from the working folder. Where the results folder
    is not there but in the project, which is the nearest folder above the first file that has a
    Snakefile, the command moves there. Paths on the command line mean what they meant before.
    """
    above = Path(args.config[0]).resolve().parents if args.config else ()
    project = next((path for path in above if (path / "Snakefile").is_file()), None)
    if project is None or project == Path.cwd():
        return
    results = Path(load_settings(args).results_dir)
    if results.exists() or not (project / results).is_dir():
        return
    for name in ("config", "dataset_config"):
        setattr(args, name, [str(Path(path).absolute()) for path in getattr(args, name)])
    for name, value in vars(args).items():
        if isinstance(value, Path):
            setattr(args, name, value.absolute())
        elif isinstance(value, list):
            given = [item.absolute() if isinstance(item, Path) else item for item in value]
            setattr(args, name, given)
    os.chdir(project)


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

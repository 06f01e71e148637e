"""The command line: `vovnet <command> ...`. The only reader of argv.

A command's module is imported only when that command is called, so that help is fast and
a table operation never loads torch.
"""

import argparse
import atexit
import gc
import io
import os
import select
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import NoReturn

from vovnet import __version__
from vovnet.commands.common import Command
from vovnet.core.errors import error_line, fit_to_show
from vovnet.core.redaction import redact
from vovnet.core.shown import Filtered, printable
from vovnet.machine.alone import at_work
from vovnet.machine.overrides import drop_overrides
from vovnet.pipeline.catalogue import STEPS

BY_HAND = {
    "ask": ("ask", "ask a trained model a question about a picture"),
    "demo": ("ask", "serve a page on which a trained model is asked"),
    "inspect": ("inspect", "look at a prepared dataset, with a contact sheet"),
    "export": ("export", "write answers and scores in the formats of other programs"),
    "samples": ("samples", "what an experiment did on each question, as a table or CSV"),
    "plan": ("plan", "what a suite will cost, before anything is spent"),
    "bench_gpu": ("bench_gpu", "what this machine's GPU does with a large model"),
    "score_predictions": ("score_predictions", "score published prediction files by row"),
    "power": ("power", "how many questions show a gain, from finished results"),
    "lease": ("lease", "run a command on GPUs that nobody else uses"),
    "eval": ("sweeps", "by hand: evaluate one checkpoint"),
    "pareto_threshold": ("sweeps", "by hand: sweep a threshold"),
    "pareto_pruning": ("sweeps", "by hand: sweep token pruning"),
    "pareto_merge": ("sweeps", "by hand: sweep token merging"),
    "pareto_resolution": ("sweeps", "by hand: sweep the image size"),
    "pareto_granularity": ("sweeps", "by hand: sweep token pooling"),
    "oracle_action": ("sweeps", "by hand: analyse the oracle's actions"),
}
"""Commands that are no steps of the pipeline."""

COMMANDS = {name: ("steps", step.help) for name, step in STEPS.items()} | BY_HAND
"""Name -> (module of `vovnet.commands` with an object of that name, one line of help)."""

WORKING = {"steps", "sweeps", "ask"}
"""Modules whose commands compute, so that a timed run beside them is not alone.

The page of `vovnet demo` computes only while it answers, and says so then.
"""

GARBAGE_EVERY = 20_000
"""New objects after which Python looks for garbage. By its usual number it would look again and
again through what torch and transformers make on import: a sixth of the time of a start.
"""

INTERRUPTED, BROKEN_PIPE = 130, 141
"""Exit statuses, as those of commands that a signal ended."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {fit_to_show(message)} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    gc.set_threshold(GARBAGE_EVERY)
    atexit.register(gc.freeze)  # the system frees all at once; Python would look through it first
    if isinstance(sys.stdout, io.TextIOWrapper):  # the encoding may lack what is to be printed
        sys.stdout.reconfigure(errors="replace")
    if sys.stdout.isatty() and not isinstance(sys.stdout, Filtered):
        sys.stdout = Filtered(sys.stdout, printable)
    if not isinstance(sys.stderr, Filtered):  # all logs and tracebacks go there
        sys.stderr = Filtered(sys.stderr, redact)
    chosen = _parser().parse_args(argv)
    if chosen.command != "lease":  # what it runs may be of any kind
        drop_overrides(os.environ)
    try:
        module, _ = COMMANDS[chosen.command]
        command: Command = getattr(import_module(f"vovnet.commands.{module}"), chosen.command)
        parser = _Parser(
            prog=f"vovnet {chosen.command}", description=command.description, allow_abbrev=False
        )
        command.add_arguments(parser)
        arguments = parser.parse_args(chosen.arguments)
        working = module in WORKING and chosen.command != "demo"
        with at_work() if working else nullcontext():
            command.run(arguments)
        sys.stdout.flush()
        return 0
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        if (line := error_line(error)) is None:
            raise
        print(f"vovnet: error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vovnet: interrupted", file=sys.stderr)
        return INTERRUPTED


def _output_is_closed() -> bool:
    """Whether who read the output has ended, so that nobody is left to be told."""
    ends = select.poll()
    with suppress(io.UnsupportedOperation):  # an output that is no file has no reader
        ends.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in ends.poll(0))


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    parser = _Parser(
        prog="vovnet",
        description="How much looking is worth: observe a model once, decide many times.",
        epilog="\n".join(["commands:", *lines, "", "vovnet <command> --help tells more."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vovnet {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of the command")
    return parser


if __name__ == "__main__":
    sys.exit(main())

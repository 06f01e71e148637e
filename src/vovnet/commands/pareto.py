"""`vovnet pareto_...`: one checkpoint, by hand, at several values of one setting of a policy.

Each of the five commands is a `Sweep` below. It writes results.csv, and the same rows once more
as pareto_<name>.csv and .json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from vovnet.commands import by_hand
from vovnet.commands.common import number

T = TypeVar("T")


def ratio(text: str) -> float:
    """A share above 0 and up to 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected numbers above 0 and up to 1, got {text!r}")
    return value


def whole(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected whole numbers from 1, got {text!r}")
    return int(text)


def listed(item: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Items separated by commas, as in "1,2,4"."""

    def items(text: str) -> list[T]:
        return [item(part.strip()) for part in text.split(",")]

    return items


def switch(text: str) -> bool:
    """`true` or `false`."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() == "true"


class Flag:
    """A flag that sets a key of the policy; `facts` go to argparse."""

    def __init__(self, key: str, flag: str, help_text: str, **facts: Any) -> None:
        self.key, self.flag, self.facts = key, flag, {"help": help_text, **facts}
        self.name = flag.removeprefix("--")


@dataclass(frozen=True)
class Sweep:
    """A command that sweeps one setting of the policy `baseline_name`.

    The key of `values` may contain the name of another flag in braces: that flag's value decides
    which setting is swept. `flags` set further keys of the policy, the same ones for every value.
    """

    name: str
    HELP: str
    baseline_name: str
    values: Flag
    flags: tuple[Flag, ...] = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        by_hand.add_arguments(parser)
        by_hand.add_output_prefix(parser)
        parser.add_argument(self.values.flag, required=True, **self.values.facts)
        for flag in self.flags:
            parser.add_argument(flag.flag, **flag.facts)

    def run(self, args: argparse.Namespace) -> None:
        given = vars(args)
        policy = {flag.key: given[flag.name] for flag in self.flags}
        sweep = {self.values.key.format(**given): given[self.values.name]}
        by_hand.evaluate_checkpoint(args, {"baseline_name": self.baseline_name, **policy}, sweep)
        by_hand.rename_results(args)
        print(args.output_dir / f"pareto_{self.name}.csv")


THRESHOLD = Sweep(
    "threshold",
    "sweep the uncertainty threshold of a checkpoint; writes pareto_threshold.csv and .json",
    "uncertainty_threshold",
    Flag(
        "baseline_threshold",
        "--thresholds",
        "the thresholds to sweep",
        type=number,
        nargs="+",
        metavar="T",
    ),
    (
        Flag(
            "baseline_uncertainty",
            "--uncertainty",
            "entropy in nats (look above T), or probability margin (look below T)",
            choices=("entropy", "margin"),
            default="entropy",
        ),
        Flag(
            "baseline_vision",
            "--vision",
            "the view taken where the text pass is unsure",
            metavar="VIEW",
            default="full",
        ),
    ),
)

PRUNING = Sweep(
    "pruning",
    "sweep the pruning of a checkpoint's FULL view; writes pareto_pruning.csv and .json",
    "vision_token_pruning_proxy",
    Flag(
        "baseline_pruning_ratio",
        "--ratios",
        "shares of the vision tokens that are kept, each above 0 and up to 1",
        type=ratio,
        nargs="+",
        metavar="R",
    ),
    (
        Flag(
            "baseline_pruning_mode",
            "--mode",
            "keep evenly spaced tokens, or those of the largest norm",
            choices=("stride", "topk_norm"),
            default="stride",
        ),
    ),
)

MERGE = Sweep(
    "merge",
    "sweep the merging of a checkpoint's vision tokens; writes pareto_merge.csv and .json",
    "token_merge_prune_proxy",
    Flag(
        "baseline_merge_ratio",
        "--merge_ratio_list",
        "shares of the vision tokens that merging leaves, as in 0.25,0.5,0.75,1.0",
        type=listed(ratio),
        metavar="R,R,...",
    ),
    (
        Flag(
            "baseline_merge_mode",
            "--merge_mode",
            "tokens are alike by the cosine between them, or by their L2 distance",
            choices=("cosine", "l2"),
            default="cosine",
        ),
        Flag(
            "baseline_merge_weight",
            "--merge_weight",
            "weight of a token in the mean: its norm, or the same for all",
            choices=("norm", "uniform"),
            default="norm",
        ),
        Flag(
            "baseline_enable_prune",
            "--enable_prune",
            "prune what merging left, by policy.baseline_pruning_ratio and _mode",
            type=switch,
            default=False,
            metavar="true|false",
        ),
    ),
)

RESOLUTION = Sweep(
    "resolution",
    "sweep the size at which a checkpoint sees images; writes pareto_resolution.csv and .json",
    "resolution_scaling_proxy",
    Flag(
        "baseline_{budget_mode}",
        "--vision_budget_list",
        "longest sides or areas in pixels, as in 224,336,448,560; images never grow",
        type=listed(whole),
        metavar="N,N,...",
    ),
    (
        Flag(
            "baseline_budget_mode",
            "--budget_mode",
            "what the list limits: the longest side, or the area",
            choices=("long_side", "max_pixels"),
            default="long_side",
        ),
    ),
)

GRANULARITY = Sweep(
    "granularity",
    "sweep the pooling of a checkpoint's token grid; writes pareto_granularity.csv and .json",
    "multi_granularity_proxy",
    Flag(
        "baseline_pool_factor",
        "--pooling_list",
        "sides of the squares of tokens that are averaged, as in 1,2,4",
        type=listed(whole),
        metavar="F,F,...",
    ),
)

"""The specification's commands on one checkpoint, by hand: `vovnet eval`, `pareto_...`, and
`oracle_action`.

Each writes results.csv, with a row for each value of the setting that it sweeps. A command
`pareto_<name>` writes the same rows once more as pareto_<name>.csv and .json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from vovnet.commands.by_hand import checkpoint_flags, evaluate_checkpoint
from vovnet.commands.common import Command, Distinct, Flag, command, number
from vovnet.config import PolicySettings
from vovnet.core.files import json_ready, write_json

if TYPE_CHECKING:
    import pandas as pd

    from vovnet.config import Settings

T = TypeVar("T")

POLICIES = ("oracle", "oracle_full_correct", "no_vision", "always_coarse", "always_full")
SHOWN = ("num_samples", "accuracy", "accuracy_lo", "accuracy_hi", "avg_cost", "avg_vision_tokens")
"""What `oracle_action` tells of each policy, beside its action rates."""

OUTPUT_PREFIX = Flag(
    "--output_prefix",
    default="results",
    metavar="NAME",
    help="name of the common results table, <NAME>.csv beside summary.json",
)


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


def values(name: str, key: str, help_text: str, **facts: Any) -> Flag:
    """The flag with the values of `policy.baseline_<key>`, one row of results for each.

    `key` may contain the key of a setting in braces, whose value decides what is swept.
    """
    facts |= {"required": True, "action": Distinct}
    return Flag(name, dest=f"baseline_{key}", help=help_text, **facts)


def setting(name: str, key: str, help_text: str, **facts: Any) -> Flag:
    """A flag that sets `policy.baseline_<key>`, with the choices and the default of that key."""
    field = PolicySettings.model_fields[f"baseline_{key}"]
    if choices := get_args(field.annotation):
        facts["choices"] = choices
    return Flag(name, dest=f"baseline_{key}", default=field.default, help=help_text, **facts)


def sweep(name: str, baseline_name: str, what: str, swept: Flag, *settings: Flag) -> Command:
    """The command that sweeps one setting of a policy, with `settings` for every value."""

    def run(args: argparse.Namespace) -> None:
        given = vars(args)
        policy = {flag.facts["dest"]: given[flag.facts["dest"]] for flag in settings}
        key = swept.facts["dest"]
        evaluated, _ = evaluate_checkpoint(
            args, {"baseline_name": baseline_name, **policy}, {key.format(**given): given[key]}
        )
        end(evaluated, rename_results(args), args.output_dir / f"pareto_{name}.csv")

    description = f"sweep {what}; writes pareto_{name}.csv and .json"
    return Command(description, (*checkpoint_flags(), OUTPUT_PREFIX, swept, *settings), run)


def rename_results(args: argparse.Namespace) -> Path:
    """Give results.csv the name that `--output_prefix` asks for."""
    return (args.output_dir / "results.csv").replace(args.output_dir / f"{args.output_prefix}.csv")


def end(settings: Settings, results: Path, path: Path) -> None:
    """Print the numbers of a command, and the file that it is about."""
    from vovnet.commands.printed import print_numbers

    print_numbers(settings, results)
    print(path)


pareto_threshold = sweep(
    "threshold",
    "uncertainty_threshold",
    "the uncertainty threshold of a checkpoint",
    values(
        "--thresholds", "threshold", "the thresholds to sweep", type=number, nargs="+", metavar="T"
    ),
    setting(
        "--uncertainty",
        "uncertainty",
        "entropy in nats (look above T), or probability margin (look below T)",
    ),
    setting("--vision", "vision", "the view taken where the text pass is unsure", metavar="VIEW"),
)
pareto_pruning = sweep(
    "pruning",
    "vision_token_pruning_proxy",
    "the pruning of a checkpoint's FULL view",
    values(
        "--ratios",
        "pruning_ratio",
        "shares of the vision tokens that are kept, each above 0 and up to 1",
        type=ratio,
        nargs="+",
        metavar="R",
    ),
    setting("--mode", "pruning_mode", "keep evenly spaced tokens, or those of the largest norm"),
)
pareto_merge = sweep(
    "merge",
    "token_merge_prune_proxy",
    "the merging of a checkpoint's vision tokens",
    values(
        "--merge_ratio_list",
        "merge_ratio",
        "shares of the vision tokens that merging leaves, as in 0.25,0.5,0.75,1.0",
        type=listed(ratio),
        metavar="R,R,...",
    ),
    setting(
        "--merge_mode",
        "merge_mode",
        "tokens are alike by the cosine between them, or by their L2 distance",
    ),
    setting(
        "--merge_weight",
        "merge_weight",
        "weight of a token in the mean: its norm, or the same for all",
    ),
    setting(
        "--enable_prune",
        "enable_prune",
        "prune what merging left, by policy.baseline_pruning_ratio and _mode",
        type=switch,
        metavar="true|false",
    ),
)
pareto_resolution = sweep(
    "resolution",
    "resolution_scaling_proxy",
    "the size at which a checkpoint sees images",
    values(
        "--vision_budget_list",
        "{baseline_budget_mode}",
        "longest sides or areas in pixels, as in 224,336,448,560; images never grow",
        type=listed(whole),
        metavar="N,N,...",
    ),
    setting("--budget_mode", "budget_mode", "what the list limits: the longest side, or the area"),
)
pareto_granularity = sweep(
    "granularity",
    "multi_granularity_proxy",
    "the pooling of a checkpoint's token grid",
    values(
        "--pooling_list",
        "pool_factor",
        "sides of the squares of tokens that are averaged, as in 1,2,4",
        type=listed(whole),
        metavar="F,F,...",
    ),
)


@command(
    "evaluate a checkpoint under the configured policy; --pareto sweeps lambda_cost",
    *checkpoint_flags(),
    Flag(
        "--pareto",
        type=number,
        nargs="+",
        action=Distinct,
        metavar="LAMBDA",
        help="values of lambda_cost to sweep",
    ),
)
def eval(args: argparse.Namespace) -> None:
    swept = {"lambda_cost": args.pareto} if args.pareto else {}
    settings, _ = evaluate_checkpoint(args, {}, swept)
    results = args.output_dir / "results.csv"
    end(settings, results, results)


@command(
    "hold a checkpoint's policy against oracles; writes analysis_oracle.json",
    *(*checkpoint_flags(), OUTPUT_PREFIX),
)
def oracle_action(args: argparse.Namespace) -> None:
    from vovnet.evaluation.columns import read_results

    settings, _ = evaluate_checkpoint(args, {}, {"baseline_name": [None, *POLICIES]})
    results = read_results(args.output_dir / "results.csv").groupby("dataset", sort=False)
    path = args.output_dir / "analysis_oracle.json"
    write_json(path, json_ready({str(dataset): _analysis(rows) for dataset, rows in results}))
    end(settings, rename_results(args), path)


def _analysis(rows: pd.DataFrame) -> dict[str, Any]:
    """The oracle beside VoVNet at `policy.lambda_cost`, then every policy in full."""
    from vovnet.evaluation.columns import RATE, VOVNET

    shown = [*SHOWN, *(name for name in rows.columns if name.startswith(RATE))]
    policies = {
        str(row["baseline_name"]) or VOVNET: {name: float(row[name]) for name in shown}
        for _, row in rows.iterrows()
    }
    compared = {
        f"{name}_{measure}": policies[name][measure]
        for name in ("oracle", VOVNET)
        for measure in ("accuracy", "avg_cost")
    }
    return {**compared, "policies": policies}

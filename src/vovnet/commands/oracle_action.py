"""`vovnet oracle_action`: what a perfect choice of action could reach."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from vovnet.commands import by_hand
from vovnet.files import write_json

if TYPE_CHECKING:
    import pandas as pd

HELP = "evaluate oracles and fixed policies of a checkpoint; writes analysis_oracle.json"

POLICIES = ("oracle", "oracle_full_correct", "no_vision", "always_coarse", "always_full")
SHOWN = (
    "num_samples",
    "accuracy",
    "accuracy_lo",
    "accuracy_hi",
    "avg_cost",
    "avg_vision_tokens",
    "action_rate_no",
    "action_rate_coarse",
    "action_rate_full",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    by_hand.add_arguments(parser)
    by_hand.add_output_prefix(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.records import read_results
    from vovnet.results import plain

    by_hand.evaluate_checkpoint(args, {}, {"baseline_name": list(POLICIES)})
    results = read_results(args.output_dir / "results.csv")
    analysis = {
        str(dataset): {str(row["baseline_name"]): _shown(row) for _, row in rows.iterrows()}
        for dataset, rows in results.groupby("dataset", sort=False)
    }
    path = args.output_dir / "analysis_oracle.json"
    write_json(path, plain(analysis))
    by_hand.rename_results(args)
    print(path)


def _shown(row: pd.Series) -> dict[str, float]:
    return {name: float(row[name]) for name in SHOWN}

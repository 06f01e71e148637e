"""`vovnet oracle_action`: what a perfect choice of action could reach."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from vovnet.commands import by_hand
from vovnet.core.files import write_json

if TYPE_CHECKING:
    import pandas as pd

HELP = "hold a checkpoint's policy against oracles; writes analysis_oracle.json"

VOVNET = "vovnet"
POLICIES = ("oracle", "oracle_full_correct", "no_vision", "always_coarse", "always_full")
SHOWN = ("num_samples", "accuracy", "accuracy_lo", "accuracy_hi", "avg_cost", "avg_vision_tokens")
"""What is told of each policy, beside its action rates."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    by_hand.add_arguments(parser)
    by_hand.add_output_prefix(parser)


def run(args: argparse.Namespace) -> None:
    from vovnet.evaluation.columns import read_results

    by_hand.evaluate_checkpoint(args, {}, {"baseline_name": [None, *POLICIES]})
    results = read_results(args.output_dir / "results.csv")
    analysis = {
        str(dataset): _analysis(rows) for dataset, rows in results.groupby("dataset", sort=False)
    }
    path = args.output_dir / "analysis_oracle.json"
    write_json(path, analysis)
    by_hand.rename_results(args)
    print(path)


def _analysis(rows: pd.DataFrame) -> dict[str, Any]:
    """The oracle beside VoVNet at `policy.lambda_cost`, then every policy in full."""
    from vovnet.evaluation.columns import RATE

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

"""The checks of shifting shares of actions tell good results from bad ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from support.replays import configuration
from vovnet.config import merge, policy_points, validate
from vovnet.core.files import write_text
from vovnet.core.layout import Layout
from vovnet.evaluation.columns import HULL_FILES, result_columns
from vovnet.report.checks import Check, run_check
from vovnet.report.checks.policies import RULES as ALL_RULES
from vovnet.report.checks.policies import SWEPT
from vovnet.report.inputs import Inputs
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

SEEDS = [0, 1]
SETS = {"mmbench": (0.5, 0.2, 0.3), "mmmu": (0.3, 0.2, 0.5), "textvqa": (0.1, 0.3, 0.6)}
"""Shares of NO, COARSE and FULL at the target lambda; each format has one set of its name."""

STANZAS: dict[str, dict[str, Any]] = {
    "soft": {"title": "Soft", "run": "soft", "role": "vovnet"},
    "free": {"title": "Free", "run": "free", "role": "vovnet"},
    "fallback": {
        "title": "Fallback",
        "role": "vovnet",
        "policy": {"fallback_mode": "full", "fallback_entropy_threshold": 0.5},
    },
}
RULES = [rule for rule in ALL_RULES if rule.block not in SWEPT]
MOVED = 0.1
"""What the fallback takes from NO, and what a model without cost looks at more."""


def inputs_of(root: Path, change: Callable[[pd.DataFrame], None] | None = None) -> Inputs:
    """Results as they should be; `change` spoils them."""
    stanzas = {
        name: item | {"sweep": {"lambda_cost": [0.0 if name == "free" else 0.02]}}
        for name, item in STANZAS.items()
    }
    extra = {
        "data": {"datasets": {name: {"format": name} for name in SETS}},
        "runs": {
            "vovnet": {},
            "soft": {"policy": {"use_straight_through": False}},
            "free": {"policy": {"lambda_cost": 0.0}},
        },
        "experiments": stanzas,
    }
    settings = validate(merge(configuration(root, list(SETS), SEEDS), extra), "test")
    rows = []
    for experiment in ("vovnet", *STANZAS):
        moved = MOVED if experiment in ("free", "fallback") else 0.0
        item = settings.experiments[experiment]
        for dataset, (no, coarse, full) in SETS.items():
            for seed in SEEDS:
                for point, policy in enumerate(policy_points(settings, experiment)):
                    row = {"experiment": experiment, "dataset": dataset, "seed": seed}
                    row |= {"run": item.run, "point": point, "lambda_cost": policy.lambda_cost}
                    row |= {"action_rate_no": no - moved, "action_rate_full": full + moved}
                    row |= {"action_rate_coarse": coarse, "fallback_trigger_rate": moved}
                    rows.append(row)
    table = pd.DataFrame(rows, columns=[*result_columns(ACTIONS), "point"]).assign(
        baseline_name="", num_samples=100, mode="replay", role="vovnet"
    )
    if change is not None:
        change(table)
    nothing = pd.DataFrame()
    return Inputs(settings, Layout(root), table, *[nothing] * len(HULL_FILES))


def write_logs(root: Path, loss: str = "0.5") -> None:
    """The logs of the soft mixture, whose stage 1 is the default's."""
    for seed in SEEDS:
        for run, stage in (("vovnet", 1), ("soft", 2)):
            path = Layout(root).stage(run, seed, stage) / "train_log.jsonl"
            write_text(path, f'{{"step": 1, "stage": {stage}, "loss": {loss}}}\n')


def outcomes(inputs: Inputs) -> dict[str, Check]:
    checks = [run_check(rule, inputs) for rule in RULES]
    return {f"{check.block} {check.name}": check for check in checks}


def failing(inputs: Inputs) -> set[str]:
    return {name for name, check in outcomes(inputs).items() if not check.passed}


def test_good_results_pass_with_their_numbers(tmp_path: Path) -> None:
    write_logs(tmp_path)
    found = outcomes(inputs_of(tmp_path))
    assert all(check.passed for check in found.values()), found
    numbers = {name: check.numbers for name, check in found.items()}
    assert "FULL 50.0% against 30.0%" in numbers["C1 FULL is more frequent on MMMU than on MMBench"]
    assert "NO 10.0%" in numbers["C1 NO is rare on TextVQA, 25% or less"]
    assert "last loss 0.500" in numbers["D2 a soft mixture trains: every loss is a number"]
    free = numbers["D3 a model trained at a lower lambda takes FULL at least as often"]
    assert "mmbench free and vovnet: FULL 40.0% at 0 against 30.0% at 0.02" in free
    shifted = numbers["E1 a fallback turns as many NOs into its view as it is triggered"]
    assert shifted.startswith("6 of 6 hold.")
    assert "mmbench fallback, lambda 0.02 (seeds 0, 1): NO 50.0% to 40.0%" in shifted


def set_value(where: dict[str, Any], column: str, value: float) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        chosen = pd.Series(True, index=table.index)
        for name, wanted in where.items():
            chosen &= table[name] == wanted
        assert chosen.any()
        table.loc[chosen, column] = value

    return change


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (
            set_value({"experiment": "vovnet", "dataset": "mmbench"}, "action_rate_full", 0.5),
            "C1 FULL is more frequent on MMMU than on MMBench",
        ),
        (
            set_value({"experiment": "vovnet", "dataset": "textvqa"}, "action_rate_no", 0.3),
            "C1 NO is rare on TextVQA, 25% or less",
        ),
        (
            set_value({"experiment": "free", "dataset": "mmmu"}, "action_rate_full", 0.2),
            "D3 a model trained at a lower lambda takes FULL at least as often",
        ),
        (
            set_value({"experiment": "fallback", "seed": 1}, "action_rate_full", 0.3),
            "E1 a fallback turns as many NOs into its view as it is triggered",
        ),
        (
            set_value({"experiment": "fallback"}, "fallback_trigger_rate", 0.05),
            "E1 a fallback turns as many NOs into its view as it is triggered",
        ),
    ],
)
def test_bad_results_fail(
    tmp_path: Path, change: Callable[[pd.DataFrame], None], name: str
) -> None:
    write_logs(tmp_path)
    assert name in failing(inputs_of(tmp_path, change))


def test_a_loss_that_is_no_number_fails(tmp_path: Path) -> None:
    write_logs(tmp_path, loss="NaN")
    assert failing(inputs_of(tmp_path)) == {"D2 a soft mixture trains: every loss is a number"}


def test_what_is_not_in_the_suite_is_not_run(tmp_path: Path) -> None:
    write_logs(tmp_path)
    inputs = inputs_of(tmp_path)
    data = inputs.settings.data
    datasets = {
        name: item.model_copy(update={"format": "mmbench"}) for name, item in data.datasets.items()
    }
    kept = {"vovnet": inputs.settings.experiments["vovnet"]}
    only = {"data": data.model_copy(update={"datasets": datasets}), "experiments": kept}
    settings = inputs.settings.model_copy(update=only)
    points = inputs.points[inputs.points["experiment"] == "vovnet"]
    alone = replace(inputs, settings=settings, points=points)
    found = outcomes(alone)
    assert all(check.passed is None for check in found.values()), found
    texts = " ".join(check.numbers for check in found.values())
    assert "no evaluation set has the format 'mmmu'" in texts

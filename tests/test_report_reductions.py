"""The checks of reduced views tell good results from bad ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from support.replays import configuration
from support.repository import ROOT
from vovnet.config import load, merge, policy_points, validate
from vovnet.core.layout import Layout
from vovnet.evaluation import columns
from vovnet.evaluation.columns import (
    CURVE_COLUMNS,
    FLOPS,
    HULL_FILES,
    MIXING_HULL,
    result_columns,
)
from vovnet.policies import kind_of, named_kind
from vovnet.report.checks import Check, run_check
from vovnet.report.checks.policies import RULES as ALL_RULES
from vovnet.report.checks.policies import SWEPT
from vovnet.report.figures import accuracy_cost, drawn_cost, reduced_views
from vovnet.report.inputs import Compared, Inputs
from vovnet.report.style import paper_style
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

STANZAS = {
    "pruning": ("vision_token_pruning_proxy", "baseline_pruning_ratio", [1.0, 0.5, 0.25]),
    "merging": ("token_merge_prune_proxy", "baseline_merge_ratio", [1.0, 0.5, 0.25]),
    "resolution": ("resolution_scaling_proxy", "baseline_long_side", [64, 128]),
    "pooling": ("multi_granularity_proxy", "baseline_pool_factor", [1, 2, 4]),
}
RULES = [rule for rule in ALL_RULES if rule.block in SWEPT]
TOKENS = {"resolution": [4, 16], "pooling": [16, 4, 1]}
ACCURACIES = {"resolution": [0.6, 0.9], "pooling": [0.9, 0.7, 0.5]}


def points(name: str, seed: int) -> list[dict[str, Any]]:
    """Rows of results as they should be."""
    baseline, _, values = STANZAS[name]
    column = next(column for found, column in SWEPT.values() if found == baseline)
    tokens = TOKENS.get(name, [16, 8, 4])
    accuracies = ACCURACIES.get(name, [0.9, 0.8, 0.6])
    keys = {"experiment": name, "baseline_name": baseline, "seed": seed, "role": "heuristic"}
    return [
        keys | {column: value, "avg_vision_tokens": count, "accuracy": accuracy}
        for value, count, accuracy in zip(values, tokens, accuracies, strict=True)
    ]


def inputs_of(change: Any = None) -> Inputs:
    stanzas = {
        name: {"title": name, "policy": {"baseline_name": baseline}, "sweep": {key: values}}
        for name, (baseline, key, values) in STANZAS.items()
    }
    reduced = {"baseline_name": "always_full", "reduce": "prune-stride-0.25"}
    stanzas["quarter"] = {"title": "A quarter", "role": "fixed", "policy": reduced}
    value = merge(configuration(Path("results"), ["graded"], [0, 1]), {"experiments": stanzas})
    full = {"experiment": "always_full", "baseline_name": "always_full", "role": "fixed"}
    full |= {"action_rate_no": 0.0, "action_rate_full": 1.0}
    quarter = full | {"experiment": "quarter", "avg_vision_tokens": 4, "accuracy": 0.6}
    rows = [quarter | {"seed": seed} for seed in (0, 1)]
    rows += [row for seed in (0, 1) for name in STANZAS for row in points(name, seed)]
    rows += [full | {"seed": s, "avg_vision_tokens": 16, "accuracy": 0.9} for s in (0, 1)]
    table = pd.DataFrame(rows, columns=[*result_columns(ACTIONS), "role"]).assign(
        dataset="graded", run="vovnet", num_samples=100, mode="replay"
    )
    if change is not None:
        change(table)
    nothing, curves = pd.DataFrame(), pd.DataFrame(columns=list(CURVE_COLUMNS))
    others = [nothing] * (len(HULL_FILES) - 2)
    settings, layout = validate(value, "test"), Layout(Path("results"))
    flops = Compared(nothing, curves, nothing, nothing, nothing)
    return Inputs(settings, layout, table, nothing, curves, *others, {FLOPS: flops})


def with_vovnet(table: pd.DataFrame) -> None:
    """Points of VoVNet itself beside those of the reduced views."""
    for seed in (0, 1):
        for place, (tokens, accuracy) in enumerate([(16, 0.9), (8, 0.88), (2, 0.7)]):
            row = {"dataset": "graded", "run": "vovnet", "mode": "replay", "role": "vovnet"}
            row |= {"experiment": "vovnet", "baseline_name": "", "seed": seed, "num_samples": 100}
            row |= {"lambda_cost": place / 100, "avg_vision_tokens": tokens, "accuracy": accuracy}
            table.loc[len(table), list(row)] = list(row.values())
    table["accuracy_lo"], table["accuracy_hi"] = table["accuracy"] - 0.05, table["accuracy"] + 0.05
    table["point"] = table.groupby(["experiment", "seed"]).cumcount()


def outcomes(inputs: Inputs) -> dict[str, Check]:
    checks = [run_check(rule, inputs) for rule in RULES]
    return {f"{check.block} {check.name}": check for check in checks}


def test_good_results_pass() -> None:
    """What always shows a quarter of FULL is not taken for always FULL."""
    found = outcomes(inputs_of())
    assert len(found) == len(RULES)
    assert {check.block for check in found.values()} == set(SWEPT)
    assert all(check.passed for check in found.values()), found
    assert (
        "0.5 leaves 0.500"
        in found["B4 the share of tokens that is left is about pruning_ratio"].numbers
    )


def set_value(name: str, place: int, column: str, value: float) -> Any:
    def change(table: pd.DataFrame) -> None:
        rows = table.index[(table["experiment"] == name) & (table["seed"] == 1)]
        table.loc[rows[place], column] = value

    return change


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (
            set_value("pruning", 0, "avg_vision_tokens", 15),
            {
                "B4 at ratio 1 pruning costs what FULL costs",
                "B4 the share of tokens that is left is about pruning_ratio",
            },
        ),
        (
            set_value("merging", 1, "avg_vision_tokens", 16),
            {"B5 the share of tokens that is left is about merge_ratio"},
        ),
        (
            set_value("pruning", 2, "accuracy", 0.85),
            {"B4 accuracy drops smoothly as pruning_ratio decreases"},
        ),
        (
            set_value("resolution", 1, "avg_vision_tokens", 17),
            {"B6 at FULL's long side an image costs what FULL costs"},
        ),
        (
            set_value("resolution", 0, "accuracy", 0.95),
            {"B6 accuracy drops smoothly as the image shrinks"},
        ),
        (
            set_value("pooling", 0, "accuracy", 0.91),
            {"B7 at factor 1 pooling answers as well as FULL"},
        ),
        (
            set_value("merging", 0, "accuracy", 0.89),
            {"B5 at ratio 1 merging answers as well as FULL"},
        ),
    ],
)
def test_bad_results_fail(change: Any, failing: set[str]) -> None:
    found = outcomes(inputs_of(change))
    assert {name for name, check in found.items() if check.passed is False} == failing
    for name in failing:
        assert "graded" in found[name].numbers
        assert "seed" in found[name].numbers


def test_a_limit_of_pixels_makes_full_cheaper_than_its_long_side() -> None:
    inputs = inputs_of(set_value("resolution", 1, "avg_vision_tokens", 17))
    budget = inputs.settings.vision_budget.model_copy(update={"full_max_pixels": 128 * 96})
    settings = inputs.settings.model_copy(update={"vision_budget": budget})
    check = outcomes(replace(inputs, settings=settings))[
        "B6 at FULL's long side an image costs what FULL costs"
    ]
    assert check.passed is None
    assert "full_max_pixels" in check.numbers


def test_without_such_experiments_nothing_is_run() -> None:
    inputs = inputs_of()
    others = inputs.points[inputs.points["experiment"] == "always_full"]
    bare = replace(inputs, points=others)
    found = outcomes(bare)
    assert all(check.passed is None for check in found.values())
    assert all("no experiment has the policy" in check.numbers for check in found.values())


@pytest.mark.parametrize("suite", ["config/config.yaml", "config/paper.yaml"])
def test_every_sweep_of_a_suite_looks_different(suite: str) -> None:
    """In both figures: no look is used twice."""
    for module in (reduced_views, accuracy_cost):
        looks = [(look["color"], look["marker"], look["linestyle"]) for look in module.LOOKS]
        assert len(set(looks)) == len(looks)
    settings = load([ROOT / suite])
    drawn = [
        kind_of(policy_points(settings, name)[0])
        for name, item in settings.experiments.items()
        if item.mode == "replay" and item.run == "vovnet" and item.role == "heuristic"
    ]
    proxies = [kind for kind in drawn if not kind.reducible]
    assert len(proxies) <= len(reduced_views.LOOKS)
    known = [named_kind(name) for name in accuracy_cost.SINGLE]
    choosing = [kind for kind in drawn if kind.reducible and kind not in known]
    assert len(choosing) <= len(accuracy_cost.LOOKS)


def test_full_is_drawn_where_it_is_not_reduced_and_costs_in_the_unit_of_their_run() -> None:
    inputs = inputs_of(with_vovnet)
    with paper_style():
        axes = accuracy_cost.figure(inputs).axes[0]
    (full,) = (line for line in axes.get_lines() if line.get_label() == "FULL")
    assert full.get_xdata().tolist() == [16]
    runs = {"vovnet": {}, "dear": {"policy": {"cost_scale": 4.0}}}
    change = {"runs": runs, "experiments": {"dear": {"title": "Dear", "run": "dear"}}}
    settings = validate(merge(inputs.settings.model_dump(), change), "test")
    told = [
        drawn_cost(replace(inputs, settings=settings), name, 64.0, columns.TOKENS)
        for name in ("dear", "vovnet", MIXING_HULL)
    ]
    assert told == [16, 64, 64], "a bound is one of the main run"


def test_the_figure_draws_every_sweep() -> None:
    inputs = inputs_of(with_vovnet)
    with paper_style():
        figure = reduced_views.figure(inputs)
    (axes,) = figure.axes
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    assert set(lines) == {"VoVNet", *STANZAS}
    assert lines["pruning"].get_xdata().tolist() == [4, 8, 16]
    assert lines["pruning"].get_ydata() == pytest.approx([60, 80, 90])
    looks = [(line.get_color(), line.get_marker()) for line in lines.values()]
    assert len(set(looks)) == len(looks)

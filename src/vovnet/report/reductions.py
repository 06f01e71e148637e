"""Checks of the policies that always show a reduced view, blocks B4 to B7."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from vovnet.report.checks import (
    SAME,
    TOLERANCE,
    Finding,
    Rule,
    baseline_rows,
    per_seed,
    percent,
    registry,
)
from vovnet.report.inputs import Inputs

SWEPT = {
    "B4": ("vision_token_pruning_proxy", "pruning_ratio"),
    "B5": ("token_merge_prune_proxy", "merge_ratio"),
    "B6": ("resolution_scaling_proxy", "long_side"),
    "B7": ("multi_granularity_proxy", "pool_factor"),
}
"""Block -> its baseline, and the column of results.csv that its sweep fills."""

MAX_RATIO_ERROR = 0.05
"""Of the share of tokens that is left: each image keeps a whole number of them."""

MAX_RISE = 0.02
"""Accuracy that fewer tokens may gain by chance."""

REDUCTIONS: list[Rule] = []
invariant = registry(REDUCTIONS, "invariant")
expectation = registry(REDUCTIONS, "expectation")


@invariant("B4", "at ratio 1 pruning costs what FULL costs")
def unpruned_costs_full(inputs: Inputs) -> Iterator[Finding]:
    return _costs_full(inputs, "B4", 1)


@invariant("B5", "at ratio 1 merging costs what FULL costs")
def unmerged_costs_full(inputs: Inputs) -> Iterator[Finding]:
    return _costs_full(inputs, "B5", 1)


@invariant("B6", "at FULL's long side an image costs what FULL costs")
def unscaled_costs_full(inputs: Inputs) -> Iterator[Finding]:
    return _costs_full(inputs, "B6", inputs.settings.vision_budget.full_long_side)


@invariant("B7", "at factor 1 pooling costs what FULL costs")
def unpooled_costs_full(inputs: Inputs) -> Iterator[Finding]:
    return _costs_full(inputs, "B7", 1)


@expectation("B4", "at ratio 1 pruning is right where FULL is")
def unpruned_is_full(inputs: Inputs) -> Iterator[Finding]:
    return _is_full(inputs, "B4", 1)


@expectation("B5", "at ratio 1 merging is right where FULL is")
def unmerged_is_full(inputs: Inputs) -> Iterator[Finding]:
    return _is_full(inputs, "B5", 1)


@expectation("B7", "at factor 1 pooling is right where FULL is")
def unpooled_is_full(inputs: Inputs) -> Iterator[Finding]:
    return _is_full(inputs, "B7", 1)


@expectation("B4", "remaining_vision_tokens scales roughly with pruning ratio")
def tokens_follow_pruning(inputs: Inputs) -> Iterator[Finding]:
    return _tokens_follow(inputs, "B4")


@expectation("B5", "remaining vision tokens scale roughly with merge ratio")
def tokens_follow_merging(inputs: Inputs) -> Iterator[Finding]:
    return _tokens_follow(inputs, "B5")


@expectation("B4", "accuracy drops smoothly as pruning_ratio decreases")
def accuracy_falls_with_pruning(inputs: Inputs) -> Iterator[Finding]:
    return _accuracy_falls(inputs, "B4")


@expectation("B5", "accuracy drops smoothly as merge_ratio decreases")
def accuracy_falls_with_merging(inputs: Inputs) -> Iterator[Finding]:
    return _accuracy_falls(inputs, "B5")


@expectation("B6", "accuracy drops smoothly as the image shrinks")
def accuracy_falls_with_resolution(inputs: Inputs) -> Iterator[Finding]:
    return _accuracy_falls(inputs, "B6")


@expectation("B7", "accuracy drops smoothly as the pooled squares grow")
def accuracy_falls_with_pooling(inputs: Inputs) -> Iterator[Finding]:
    return _accuracy_falls(inputs, "B7")


def _costs_full(inputs: Inputs, block: str, value: float | None) -> Iterator[Finding]:
    for where, seed, row in _unreduced(inputs, block, value):
        cost, full = row["avg_vision_tokens"], row["avg_vision_tokens_full"]
        text = f"{cost:g} tokens, FULL {full:g}"
        yield Finding(where, abs(cost - full) <= TOLERANCE, text, seed)


def _is_full(inputs: Inputs, block: str, value: float | None) -> Iterator[Finding]:
    for where, seed, row in _unreduced(inputs, block, value):
        found, full = row["accuracy"], row["accuracy_full"]
        text = f"{percent(found)}, FULL {percent(full)}"
        yield Finding(where, abs(found - full) <= TOLERANCE, text, seed)


def _tokens_follow(inputs: Inputs, block: str) -> Iterator[Finding]:
    _, column = SWEPT[block]
    for where, seed, rows in _beside_full(inputs, block):
        asked, left = rows[column], rows["avg_vision_tokens"] / rows["avg_vision_tokens_full"]
        text = ", ".join(f"{a:g} leaves {b:.3f}" for a, b in zip(asked, left, strict=True))
        close = bool(((left - asked).abs() <= MAX_RATIO_ERROR).all())
        yield Finding(where, close, text, seed)


def _accuracy_falls(inputs: Inputs, block: str) -> Iterator[Finding]:
    """From many tokens to few, accuracy never rises by more than chance allows."""
    for where, seed, rows in _beside_full(inputs, block):
        if len(rows) < 2:
            continue
        rows = rows.sort_values("avg_vision_tokens", ascending=False)
        text = " to ".join(percent(value) for value in rows["accuracy"])
        yield Finding(where, bool((rows["accuracy"].diff().dropna() <= MAX_RISE).all()), text, seed)


def _unreduced(
    inputs: Inputs, block: str, value: float | None
) -> Iterator[tuple[str, int, pd.Series]]:
    """Rows at the value of the sweep at which nothing is reduced, where it is in the sweep."""
    _, column = SWEPT[block]
    for where, seed, rows in _beside_full(inputs, block):
        for _, row in rows[rows[column] == value].iterrows():
            yield where, seed, row


def _beside_full(inputs: Inputs, block: str) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """The points of each sweep beside always FULL on the same model and samples.

    What is merged and then pruned follows neither ratio alone, and is left out.
    """
    baseline, column = SWEPT[block]
    rows = baseline_rows(inputs, baseline)
    if column != "pruning_ratio":
        rows = rows[rows["pruning_ratio"].isna()]
    full = baseline_rows(inputs, "always_full")[[*SAME, "accuracy", "avg_vision_tokens"]]
    beside = rows[rows[column].notna()].merge(full, on=SAME, suffixes=("", "_full"))
    for name, found in beside.groupby("experiment", sort=False):
        for dataset, seed, points in per_seed(found):
            yield f"{dataset} {name}", seed, points

"""Checks of the policies that always show a reduced view, blocks B4 to B7."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd

from vovnet.report.checks._check import (
    Finding,
    NotRunError,
    Rules,
    baseline_rows,
    per_seed,
    percent,
)
from vovnet.report.inputs import SAME, TOLERANCE, Inputs

ORDER = 30
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


def costs_full(inputs: Inputs, block: str, value: float | None) -> Iterator[Finding]:
    for where, seed, row in _unreduced(inputs, block, value):
        cost, full = row["avg_vision_tokens"], row["avg_vision_tokens_full"]
        yield Finding(where, abs(cost - full) <= TOLERANCE, f"{cost:g} tokens, FULL {full:g}", seed)


def full_side_costs_full(inputs: Inputs) -> Iterator[Finding]:
    """A view of a long side has no limit of its area, which FULL may have besides."""
    budget = inputs.settings.vision_budget
    if budget.full_max_pixels is not None:
        raise NotRunError("vision_budget.full_max_pixels limits FULL besides its long side")
    yield from costs_full(inputs, "B6", budget.full_long_side)


def is_full(inputs: Inputs, block: str, value: float | None) -> Iterator[Finding]:
    for where, seed, row in _unreduced(inputs, block, value):
        own, full = row["accuracy"], row["accuracy_full"]
        text = f"{percent(own)}, FULL {percent(full)}"
        yield Finding(where, abs(own - full) <= TOLERANCE, text, seed)


def tokens_follow(inputs: Inputs, block: str) -> Iterator[Finding]:
    _, column = SWEPT[block]
    for where, seed, rows in _beside_full(inputs, block):
        asked, left = rows[column], rows["avg_vision_tokens"] / rows["avg_vision_tokens_full"]
        text = ", ".join(f"{a:g} leaves {b:.3f}" for a, b in zip(asked, left, strict=True))
        yield Finding(where, ((left - asked).abs() <= MAX_RATIO_ERROR).all(), text, seed)


def accuracy_falls(inputs: Inputs, block: str) -> Iterator[Finding]:
    """From many tokens to few, accuracy never rises by more than chance allows."""
    for where, seed, rows in _beside_full(inputs, block):
        if len(rows) < 2:
            continue
        rows = rows.sort_values("avg_vision_tokens", ascending=False)
        text = " to ".join(percent(value) for value in rows["accuracy"])
        yield Finding(where, (rows["accuracy"].diff().dropna() <= MAX_RISE).all(), text, seed)


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


RULES = Rules()
for _block, _verb in (("B4", "pruning"), ("B5", "merging"), ("B7", "pooling")):
    _point = f"at {'factor' if _block == 'B7' else 'ratio'} 1 {_verb}"
    RULES.invariant(_block, f"{_point} costs what FULL costs")(
        partial(costs_full, block=_block, value=1)
    )
    RULES.expectation(_block, f"{_point} answers as well as FULL")(
        partial(is_full, block=_block, value=1)
    )
RULES.invariant("B6", "at FULL's long side an image costs what FULL costs")(full_side_costs_full)
for _block in ("B4", "B5"):
    RULES.expectation(_block, f"the share of tokens that is left is about {SWEPT[_block][1]}")(
        partial(tokens_follow, block=_block)
    )
for _block, _when in (
    ("B4", "pruning_ratio decreases"),
    ("B5", "merge_ratio decreases"),
    ("B6", "the image shrinks"),
    ("B7", "the pooled squares grow"),
):
    RULES.expectation(_block, f"accuracy drops smoothly as {_when}")(
        partial(accuracy_falls, block=_block)
    )

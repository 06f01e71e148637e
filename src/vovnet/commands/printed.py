"""The numbers that a command by hand ends with, as a table on the terminal."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vovnet.commands.checkpoints import note
from vovnet.config import Settings
from vovnet.evaluation.columns import SETTINGS, column_of, read_results
from vovnet.report import render

MEASURED = ("avg_vision_tokens", "avg_flops", "fallback_trigger_rate", "latency_p50_ms")
SAME = ["accuracy", "avg_cost", "avg_flops"]


def print_numbers(settings: Settings, path: Path) -> None:
    """Print the results in a file, a row for each set and point, and which have equal means."""
    rows = read_results(path)
    policies = rows["baseline_name"].replace("", "VoVNet").astype(str)
    columns: render.Text = {"Dataset": rows["dataset"], "Policy": policies}
    swept = [name for name in SETTINGS if rows[name].notna().any()]
    columns |= {column_of(name).heading: _texts(rows[name]) for name in swept}
    columns |= render.value(rows, "num_samples") | render.value(rows, "accuracy", ends=True)
    for name in MEASURED:
        if rows[name].notna().any():
            columns |= render.value(rows, name)
    columns |= render.shares(rows, settings.actions)
    print(render.to_markdown(pd.DataFrame(columns)), end="")
    for name in swept:
        _tell_equal_means(rows, name)


def _texts(values: pd.Series) -> pd.Series:
    return values.map(lambda value: render.DASH if pd.isna(value) else render.plain(value))


def _tell_equal_means(rows: pd.DataFrame, name: str) -> None:
    """Note values of a setting with which a policy has the same means on a set."""
    for (dataset, _), own in rows.groupby(["dataset", "baseline_name"], sort=False):
        for _, same in own.groupby(SAME, sort=False, dropna=False):
            values = [render.plain(value) for value in same[name].dropna().unique()]
            if len(values) > 1:
                listed = f"{', '.join(values[:-1])} and {values[-1]}"
                what = f"{column_of(name).heading} {listed}"
                note(f"{dataset}: {what} have equal mean accuracy, cost and FLOPs")

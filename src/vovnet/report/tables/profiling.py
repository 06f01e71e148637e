"""Live runs: a row per dataset and experiment with latency, memory and where the time goes."""

from __future__ import annotations

import pandas as pd

from vovnet.report import text
from vovnet.report.inputs import Inputs
from vovnet.report.live_runs import PARTS, RATIO, profiles
from vovnet.report.render import DASH, Table, number, numbers, texts

ORDER = 80


def table(inputs: Inputs) -> Table:
    rows = profiles(inputs)
    columns: text.Text = {
        ("", "Dataset"): rows["dataset"],
        ("", "Method"): rows["title"] + rows["label"],
    }
    for group, name in (("Latency ↓ [ms]", "latency_{}_ms"), ("Memory ↓ [MB]", "mem_peak_{}_mb")):
        for part in ("p50", "p90"):
            columns |= text.value(rows, name.format(part), (group, part.upper()))
    columns |= {("", "Tokens/s ↑"): numbers(rows["tokens_s"])}
    for part, (_, brief) in PARTS.items():
        columns |= {("Share of the time [%]", brief): numbers(100 * rows[f"share_{part}"])}
    same = map(_same_tokens, rows["num_different"], rows["num_samples"])
    ratios = map(_ratio, *(rows[name] for name in RATIO))
    columns |= {
        ("Cache reuse", "Same tokens"): texts(rows.index, same),
        ("Cache reuse", "Time ratio ↓"): texts(rows.index, ratios),
    }
    caption = (
        "Live runs, one question at a time: latency and peak memory per question (a dash where "
        "the device tells none, as the CPU), generated tokens per second, and each part's share "
        "of the time. Cache reuse: whether the same tokens come with and without it, and the "
        "geometric mean of the paired ratios of latency, with over without, with its 95% interval."
    )
    return Table(caption, rows.drop(columns="label"), columns)


def _same_tokens(different: float, samples: float) -> str:
    if pd.isna(different):
        return DASH
    return "yes" if different == 0 else f"no ({different:g} of {samples:g} differ)"


def _ratio(ratio: float, low: float, high: float) -> str:
    if pd.isna(ratio):
        return DASH
    return f"{number(ratio, 2)} [{number(low, 2)}, {number(high, 2)}]"

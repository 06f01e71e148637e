"""Live runs: a row per dataset and experiment with latency, memory and where the time goes.

Where the fixed policies ran live, too, also what is gained over mixing them at equal time.
"""

import pandas as pd

from vovnet.evaluation.columns import MS
from vovnet.report import render
from vovnet.report.inputs import Inputs, equal_cost_gains
from vovnet.report.live_runs import PARTS, RATIO, profiles

ORDER = 80
BY = ["dataset", "experiment", "point"]
GAIN = {f"gain{end}_mixing": f"gain{end}" for end in ("", "_lo", "_hi")}


def table(inputs: Inputs) -> render.Table:
    gains = equal_cost_gains(inputs, MS)[[*BY, *GAIN]].rename(columns=GAIN)
    rows = profiles(inputs).merge(gains, on=BY, how="left", validate="one_to_one")
    columns: render.Text = {
        ("", "Dataset"): rows["dataset"],
        ("", "Method"): rows["title"] + rows["label"],
        ("", "Measured on"): rows["place"],
    }
    for group, name in (("Latency ↓ [ms]", "latency_{}_ms"), ("Memory ↓ [MB]", "mem_peak_{}_mb")):
        for part in ("p50", "p90"):
            columns |= render.value(rows, name.format(part), (group, part.upper()))
    columns |= {("", "Tokens/s ↑"): render.numbers(rows["tokens_s"])}
    for part, (_, brief) in PARTS.items():
        columns |= {("Share of the time [%]", brief): render.numbers(100 * rows[f"share_{part}"])}
    same = map(_same_tokens, rows["num_different"], rows["num_samples"])
    ratios = map(_ratio, *(rows[name] for name in RATIO))
    columns |= {
        ("Cache reuse", "Same tokens"): render.texts(rows.index, same),
        ("Cache reuse", "Time ratio ↓"): render.texts(rows.index, ratios),
    }
    if known := bool(rows["gain"].notna().any()):
        columns |= render.value(rows, "gain", ("", "Gain ↑ [points]"), ends=True)
    caption = (
        "Live runs, one question at a time: latency and peak memory per question (a dash where "
        "the device tells none, as the CPU, and for times where the run was not alone on its "
        "machine), generated tokens per second, and each part's share of the time. Cache reuse: "
        "whether the same tokens come with and without it, and the geometric mean of the paired "
        "ratios of latency, with over without, with its 95% interval."
    )
    if known:
        caption += (
            " Gain: points of accuracy over random mixing of the fixed policies' own live runs at"
            " the row's own mean time, with its 95% interval."
        )
    brief = (
        "Live runs, one question at a time: latency per question (a dash where the run was not "
        "alone on its machine), generated tokens per second, and the geometric mean of the paired "
        "ratios of latency with cache reuse over without, with its 95% interval."
    )
    left_out = {"Memory ↓ [MB]", "Share of the time [%]", "Same tokens"}
    kept = [heading for heading in columns if left_out.isdisjoint(heading)]
    return render.Table(caption, rows.drop(columns="label"), columns, render.Short(brief, kept))


def _same_tokens(different: float, samples: float) -> str:
    if pd.isna(different):
        return render.DASH
    return "yes" if different == 0 else f"no ({different:g} of {samples:g} differ)"


def _ratio(ratio: float, low: float, high: float) -> str:
    if pd.isna(ratio):
        return render.DASH
    return f"{render.number(ratio, 2)} [{render.number(low, 2)}, {render.number(high, 2)}]"

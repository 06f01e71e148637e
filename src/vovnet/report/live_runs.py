"""What live runs measured: summary.json of each has a profile per dataset, seed and sweep point."""

from typing import Any

import pandas as pd

from vovnet.config import policy_points
from vovnet.core.errors import DataError
from vovnet.core.files import read_json
from vovnet.report.inputs import Inputs, of, over_seeds
from vovnet.report.render import point_label, texts

PARTS = {
    "text_pass": ("Text pass", "Text"),
    "decision": ("Decision", "Decide"),
    "image_loading": ("Image loading", "Load"),
    "preprocessing": ("Preprocessing", "Prep."),
    "vision_encoding": ("Vision encoding", "Encode"),
    "prefill": ("Prefill", "Prefill"),
    "generation": ("Generation", "Gen."),
}
"""Part of an answer, in its order -> its name and a short one."""

COLUMNS = ("latency_p50_ms", "latency_p90_ms", "mem_peak_p50_mb", "mem_peak_p90_mb", "tokens_s")
RATIO = ("latency_ratio", "latency_ratio_lo", "latency_ratio_hi")
_OF_PARTS = [name for part in PARTS for name in (f"share_{part}", f"{part}_ms")]
MEASURES = ["num_samples", *COLUMNS, *_OF_PARTS, *RATIO]
TYPES = dict.fromkeys(("experiment", "dataset"), "str") | dict.fromkeys(("seed", "point"), "int64")
TYPES |= dict.fromkeys((*MEASURES, "num_different"), "float64") | {"place": "str"}


def profiles(inputs: Inputs) -> pd.DataFrame:
    """The profiles of every live experiment, averaged over seeds; in the report's order."""
    live = of(inputs.points, mode="live")
    by = ["dataset", "experiment", "title", "run", "point"]
    found = pd.DataFrame(
        [facts for name in dict.fromkeys(live["experiment"]) for facts in _facts(inputs, name)],
        columns=list(TYPES),
    ).astype(TYPES)  # also where no experiment is live
    known = live[by].drop_duplicates()
    joined = known.merge(found, on=["dataset", "experiment", "point"], how="left")
    rows = over_seeds(joined, by, [], MEASURES)
    groups = joined.groupby(by, sort=False)
    worst, places = groups["num_different"].max(), groups["place"].first()
    labels = [
        f", {point_label(inputs.settings, name, point)}"
        if len(policy_points(inputs.settings, name)) > 1
        else ""
        for name, point in zip(rows["experiment"], rows["point"], strict=True)
    ]
    # As text also where there is no row, so that it can be joined to the title.
    label, place = texts(rows.index, labels), texts(rows.index, places)
    return rows.assign(num_different=worst.to_numpy(), label=label, place=place)


def live_latency(inputs: Inputs, rows: pd.DataFrame) -> list[float]:
    """The median latency of each method's own live run, over seeds; NaN where there is none."""
    live, stanzas = of(inputs.points, mode="live"), inputs.settings.experiments
    latencies = []
    for _, row in rows.iterrows():
        name, dataset = row["experiment"], row["dataset"]
        policy = policy_points(inputs.settings, name)[int(row["point"])]
        twins = () if stanzas[name].match else inputs.twins("live", stanzas[name].run, policy)
        found = [of(live, dataset=dataset, experiment=twin, point=point) for twin, point in twins]
        means = [float(own["latency_p50_ms"].mean()) for own in found if len(own)]
        latencies.append(means[0] if means else float("nan"))
    return latencies


def _facts(inputs: Inputs, name: str) -> list[dict[str, Any]]:
    """The profiles of one experiment, a flat row per dataset, seed and point."""
    path = inputs.layout.eval(name) / "summary.json"
    rows = []
    try:
        summary = read_json(path)
        place = f"{summary['device']}, {'alone' if summary['alone'] else 'not alone'}"
        for item in summary["profile"]:
            row = {key: item[key] for key in ("dataset", "seed", "point", "num_samples")}
            row |= {key: item.get(key) for key in COLUMNS}
            row |= {f"share_{part}": item["time_shares"][part] for part in PARTS}
            row |= {f"{part}_ms": item["parts_ms"][part] for part in PARTS}
            compared = item.get("cache_reuse_comparison", {})
            row |= {key: compared.get(key) for key in (*RATIO, "num_different")}
            rows.append({"experiment": name, "place": place} | row)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not the summary of a live run, {error} is missing") from None
    return rows

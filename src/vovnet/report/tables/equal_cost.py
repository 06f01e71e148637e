"""The test of every method at equal cost: against random mixing, and against resolution scaling."""

from __future__ import annotations

import pandas as pd

from vovnet.report.inputs import Inputs, of
from vovnet.report.render import DASH, Table, intervals, numbers, texts

REFERENCES = {"mixing_hull": "mixing", "resolution": "resolution"}
BY = ["dataset", "experiment", "title", "run", "at"]
KEPT = (
    "avg_cost",
    "reference_run",
    "within_range",
    "num_seeds",
    *(f"gain{end}" for end in ("", "_sd", "_lo", "_hi")),
    "verdict",
)
HALF, OWN = "50", "own"
"""Where the verdict is told in words: at half of FULL's cost, a single point at its own."""

YES = {True: "yes", False: "no"}


def resolution_test(inputs: Inputs) -> Table:
    """A row per dataset, method and cost: both gains with intervals, and the verdict."""
    rows = gains(inputs)
    again = rows["title"].where(~rows.duplicated(["dataset", "experiment"]), "")
    foreign = rows["reference_run_resolution"].notna() & (
        rows["reference_run_resolution"] != rows["run"]
    )
    text = pd.DataFrame(
        {
            "Dataset": rows["dataset"],
            "Method": again
            + texts(rows.index, ("†" if mark else "" for mark in foreign)).where(again != "", ""),
            "At": rows["at"].map(lambda at: "own cost" if at == OWN else f"{at}%"),
            "Cost": numbers(rows["avg_cost"]),
            "Over mixing ↑ [points]": _interval(rows, "mixing"),
            "Over resolution ↑ [points]": _interval(rows, "resolution"),
            "In range": rows["within_range_resolution"].map(YES).fillna(DASH),
            "Resolution scaling": rows["verdict_resolution"].fillna(DASH),
            "Seeds": texts(rows.index, (f"{count:g}" for count in rows["num_seeds_mixing"])),
        }
    )
    caption = (
        "Every method at equal cost against random mixing of the fixed policies and against "
        "resolution scaling: sweeps at 25, 50 and 75% of FULL's cost, single points at their own. "
        "Gain in accuracy, mean over seeds, with the paired bootstrap 95% interval over questions "
        "(not corrected for the number of comparisons). Resolution scaling is the upper convex "
        "hull of no vision, the sizes of the sweep and FULL: any two may be mixed. In range: the "
        "cost lies between those of the smallest and the largest image of the sweep. †: the run "
        "has no such sweep, that of VoVNet's run is taken. " + sentence(rows)
    )
    return Table("resolution_test", caption, rows, text, long=True)


def gains(inputs: Inputs) -> pd.DataFrame:
    """equal_cost.csv with both references side by side: columns `*_mixing` and `*_resolution`."""
    sides = [
        of(inputs.equal_cost, reference=reference).set_index(BY)[list(KEPT)].add_suffix(f"_{short}")
        for reference, short in REFERENCES.items()
    ]
    rows = sides[0].join(sides[1], how="left").reset_index()
    return rows.assign(at=rows["at"].astype(str), avg_cost=rows["avg_cost_mixing"])


def sentence(rows: pd.DataFrame) -> str:
    """Which methods beat resolution scaling, and which lose to it, on which datasets."""
    told = rows[rows["at"].isin([HALF, OWN])]
    if told["verdict_resolution"].isna().all():
        return "No experiment scales the resolution, so nothing is compared with it."
    told = told[told["verdict_resolution"].notna()]
    lines = []
    for dataset, found in told.groupby("dataset", sort=False):
        beat, lose = (
            "; ".join(of(found, verdict_resolution=verdict)["title"]) or "none"
            for verdict in ("beats", "loses")
        )
        lines.append(f"On {dataset} these beat it: {beat}. These lose to it: {lose}.")
    return (
        "Against resolution scaling at equal cost (half of FULL's for sweeps, their own for "
        f"single points). {' '.join(lines)} All others are undecided: the interval contains 0."
    )


def _interval(rows: pd.DataFrame, reference: str) -> pd.Series:
    ends = intervals(rows[f"gain_lo_{reference}"], rows[f"gain_hi_{reference}"], empty="")
    return (numbers(rows[f"gain_{reference}"]) + " " + ends).str.strip()

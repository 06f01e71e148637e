"""Every method at equal cost: gains over random mixing and resolution scaling, and a verdict."""

import pandas as pd

from vovnet.evaluation.columns import FLOPS
from vovnet.report import render
from vovnet.report.inputs import HALF, OWN, Inputs, equal_cost_gains, equal_cost_places, of

ORDER = 60


def table(inputs: Inputs) -> render.Table:
    rows = equal_cost_places(inputs)
    by = ["dataset", "experiment", "at", "point"]
    counted = rows[by].merge(equal_cost_gains(inputs, FLOPS), on=by, how="left")
    other = rows["reference_run_resolution"]
    foreign = other.notna() & (other != rows["run"])
    titles = rows["title"] + foreign.map({True: "†", False: ""})
    columns = (
        {
            "Dataset": rows["dataset"],
            "Method": titles,
            "At": rows["at"].map(lambda at: "own cost" if at == OWN else f"{at}%"),
            "Cost": render.numbers(rows["avg_cost"]),
        }
        | _gain(rows, "mixing")
        | _gain(rows, "resolution")
        | {
            "In range": rows["within_range_resolution"]
            .map({True: "yes", False: "no"})
            .fillna(render.DASH),
            "Resolution scaling": rows["verdict_resolution"].fillna(render.DASH),
        }
        | _gain(counted, "mixing", "by FLOPs: over mixing ↑")
        | _gain(counted, "resolution", "by FLOPs: over resolution ↑")
        | {
            "by FLOPs": counted["verdict_resolution"].fillna(render.DASH),
            "Seeds": render.texts(rows.index, (f"{count:g}" for count in rows["num_seeds_mixing"])),
        }
    )
    caption = (
        "Every method at equal cost against random mixing of the fixed policies and against "
        "resolution scaling: sweeps at 25, 50 and 75% of FULL's cost, single points at their own. "
        "Gain in accuracy, mean over seeds, with the paired 95% interval over questions and seeds "
        "(a single seed: over questions only). Verdicts are at 5% after Holm's correction for the "
        "number of methods compared on the dataset at that place by one cost (of such groups at "
        "most 5% hold a false one, of tables more); none is passed where a method and the sweep "
        "have only one seed in common though one of them has more. Resolution scaling is the "
        "upper convex hull of no vision, the sizes of the sweep and FULL: any two may be mixed. "
        "In range: the cost lies between those of the smallest and the largest image of the "
        "sweep. By FLOPs: the same at equal counted FLOPs of text pass, tower and language model. "
        "†: the run has no such sweep, that of VoVNet's run is taken. " + sentence(rows)
    )
    brief = (
        "Every method against resolution scaling at equal cost: sweeps at half of FULL's cost, "
        "single points at their own. Gain in accuracy, mean over seeds, with the paired 95% "
        "interval over questions and seeds; verdicts at 5% after Holm's correction. By FLOPs: the "
        "same at equal counted FLOPs."
    )
    left_out = ("Cost", "Over mixing ↑ [points]", "In range", "by FLOPs: over mixing ↑", "Seeds")
    here = rows["at"].isin([HALF, OWN])
    short = render.Short(brief, render.without(columns, *left_out), here)
    return render.Table(caption, rows, columns, short, inputs.is_main(rows))


def sentence(rows: pd.DataFrame) -> str:
    """Which methods beat resolution scaling, and which lose to it, on which datasets."""
    told = rows[rows["at"].isin([HALF, OWN])]
    if told["gain_resolution"].isna().all():
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
        f"single points). {' '.join(lines)} All others are undecided or without a "
        "verdict, which does not show that they are equal."
    )


def _gain(rows: pd.DataFrame, reference: str, heading: str = "") -> render.Text:
    ending = f"_{reference}"
    side = rows.filter(like=ending).rename(columns=lambda name: name.removesuffix(ending))
    return render.value(side, "gain", heading or f"Over {reference} ↑ [points]", ends=True)

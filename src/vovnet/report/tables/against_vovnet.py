"""Every method against VoVNet at equal cost: paired differences, and who wins by which cost."""

import pandas as pd

from vovnet.evaluation.columns import BEATS, FLOPS, LOSES, MS, TOKENS, VOVNET
from vovnet.report import render
from vovnet.report.inputs import HALF, OWN, Inputs, compared, of, ordered

ORDER = 62
BY = ["dataset", "experiment", "title", "at"]
GAIN = ["gain", "gain_lo", "gain_hi"]


def table(inputs: Inputs) -> render.Table:
    """A row per dataset, method and place; none where nothing stands for VoVNet."""
    tokens, flops = (
        _compared(of(inputs.counted(unit).equal_cost, reference=VOVNET)) for unit in (TOKENS, FLOPS)
    )
    rows = tokens.merge(flops, on=BY, how="left", suffixes=("", "_flops"))
    live = _compared(of(inputs.counted(MS).equal_cost, reference=VOVNET))
    if not live.empty:
        timed = live.rename(columns={end: f"{end}_ms" for end in GAIN})
        timed = timed[[*BY, "num_seeds", *(f"{end}_ms" for end in GAIN)]]
        timed = timed.assign(title=timed["title"] + " (live)")
        rows = pd.concat([rows, timed], ignore_index=True)
        rows = ordered(inputs.settings, rows, by=["dataset"])
    columns: render.Text = {
        ("", "Dataset"): rows["dataset"],
        ("", "Method"): rows["title"],
        ("", "At"): rows["at"].map(lambda at: "own cost" if at == OWN else f"{at}%"),
    }
    for ending, group in (("", "By vision tokens"), ("_flops", "By FLOPs")):
        heading = (group, "Difference ↑ [points]")
        side = rows[[f"gain{end}{ending}" for end in ("", "_lo", "_hi")]]
        columns |= render.value(side.set_axis(GAIN, axis=1), "gain", heading, ends=True)
        columns[group, "Verdict"] = rows[f"verdict{ending}"].fillna(render.DASH)
    if not live.empty:
        side = rows[[f"{end}_ms" for end in GAIN]].set_axis(GAIN, axis=1)
        columns |= render.value(
            side, "gain", ("By milliseconds", "Difference ↑ [points]"), ends=True
        )
    columns |= {("", "Seeds"): render.texts(rows.index, (f"{n:g}" for n in rows["num_seeds"]))}
    caption = (
        "Every method minus VoVNet at equal cost: accuracy of curves at 25, 50 and 75% of FULL's "
        "cost, of single points at their own, mean over the seeds that both have, paired by "
        "question and seed, with the 95% interval over questions and seeds (a single seed: over "
        "questions only). Verdicts are at 5% after Holm's correction for the number of methods "
        "compared on the dataset at that place by one cost (of such groups at most 5% hold a false "
        "one, of tables more), and none is passed where the two have only one seed in common "
        "though one of them has more: other trainings might say otherwise. "
        f"{_sentence(tokens, 'vision tokens')} {_sentence(flops, 'counted FLOPs')} All others are "
        "undecided or without a verdict, which does not show that they are equal."
    )
    if not live.empty:
        caption += (
            " Live rows: at their own mean time, against what VoVNet's live run reaches in it, "
            "mixed with those of the fixed policies, which therefore have no rows here; only where "
            "VoVNet's run itself gains over mixing the fixed ones."
        )
    brief = (
        "Every method minus VoVNet at equal cost: accuracy of curves at half of FULL's cost, of "
        "single points at their own, with the paired 95% interval over questions and seeds. "
        "Verdicts are at 5% after Holm's correction."
    )
    headings = [heading for heading in columns if heading[0] != "By milliseconds"]
    here = rows["at"].isin([HALF, OWN]) & rows["gain"].notna()
    short = render.Short(brief, render.without(headings, ("", "Seeds")), here)
    return render.Table(caption, rows, columns, short)


def _compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Curves at shares of FULL's cost and single points at their own."""
    kept = compared(rows)
    numbers = ["avg_cost", "num_seeds", *GAIN, "gain_sd", "p_value", "p_holm", "verdict"]
    return kept[[*BY, *numbers]].assign(at=kept["at"].astype(str))


def _sentence(rows: pd.DataFrame, unit: str) -> str:
    """Which methods beat VoVNet, and which lose to it, by a unit of cost."""
    if rows.empty:
        return f"By {unit} nothing is compared."
    lines = []
    for dataset, found in rows[rows["at"].isin([HALF, OWN])].groupby("dataset", sort=False):
        beat, lose = (
            "; ".join(of(found, verdict=verdict)["title"]) or "none" for verdict in (BEATS, LOSES)
        )
        lines.append(f"on {dataset} these beat it: {beat}; these lose to it: {lose}.")
    return f"By {unit}, at half of FULL's or at their own: {' '.join(lines)}"

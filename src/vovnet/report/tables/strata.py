"""What every method does on questions that need no image, a coarse one, FULL, or more than that."""

import pandas as pd

from vovnet.evaluation.columns import NO_VIEW
from vovnet.report import render
from vovnet.report.inputs import Inputs, of, operating_note, operating_points, over_seeds

ORDER = 74
BY = ["dataset", "experiment", "point"]
SHARE = "(share of the questions)"


def table(inputs: Inputs) -> render.Table:
    """A row per dataset and method at its operating point; the first tells the shares."""
    measures = ("share", "accuracy", "avg_cost", "avg_flops", "look_rate")
    numbers = over_seeds(inputs.strata, [*BY, "title", "stratum"], measures)
    chosen = operating_points(inputs)[BY]
    rows = chosen.merge(numbers[[*BY, "title"]].drop_duplicates(), on=BY)
    first = rows.drop_duplicates("dataset").assign(title=SHARE)
    rows = pd.concat([first, rows]).sort_index(kind="stable").reset_index(drop=True)
    is_share = rows["title"] == SHARE
    columns: render.Text = {("", "Dataset"): rows["dataset"], ("", "Method"): rows["title"]}
    for stratum in [*inputs.actions, NO_VIEW]:
        there = rows[BY].merge(of(numbers, stratum=stratum), on=BY, how="left")
        accuracy = there["accuracy_mean"].mask(is_share, there["share_mean"])
        group = f"Needs {render.label(stratum)}" if stratum != NO_VIEW else "No view answers"
        columns |= {
            (group, "Acc. [%]"): render.numbers(100 * accuracy),
            (group, "Cost"): render.numbers(there["avg_cost_mean"].mask(is_share)),
            (group, "GFLOPs"): render.numbers(1e-9 * there["avg_flops_mean"].mask(is_share), 2),
            (group, "Looks [%]"): render.numbers(100 * there["look_rate_mean"].mask(is_share), 0),
        }
    caption = (
        "Accuracy, cost, counted FLOPs and share of looks on questions by what they need: the "
        "cheapest view under which a question is expected to be answered right more likely than"
        " not. That is told by what the models of other seeds made of the question and by its "
        "text (of a single seed by its text alone), never by the outcomes that are counted "
        "here. The first row of a dataset has the share of each kind. Means over seeds. "
        f"{operating_note(inputs)}"
    )
    brief = (
        "Accuracy and share of looks on questions by what they need: the cheapest view under which "
        "a question is expected to be answered right more likely than not. The first row of a "
        f"dataset has the share of each kind. Means over seeds. {operating_note(inputs)}"
    )
    short = render.Short(brief, [name for name in columns if name[1] not in ("Cost", "GFLOPs")])
    main = inputs.is_main(rows) & ~is_share
    return render.Table(caption, inputs.strata, columns, short, main)

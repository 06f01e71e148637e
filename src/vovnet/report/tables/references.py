"""What could be reached on the questions of each set, by how much is known of them."""

import pandas as pd

from vovnet.evaluation.columns import FLOPS, GAIN_SHARES, TOKENS
from vovnet.report import render
from vovnet.report.inputs import Inputs, of

ORDER = 72
AT = {name.removeprefix("gain_at_"): share for name, share in GAIN_SHARES.items()}


def table(inputs: Inputs) -> render.Table:
    """A row per dataset and reference; none where no experiment has a curve."""
    rows = inputs.references.drop_duplicates(["dataset", "reference"]).reset_index(drop=True)
    columns: render.Text = {("", "Dataset"): rows["dataset"], ("", "Known"): rows["title"]}
    for unit, group in ((TOKENS, "Gain ↑ [points]"), (FLOPS, "by FLOPs ↑ [points]")):
        for at, share in AT.items():
            there = rows[["dataset", "reference"]].merge(
                of(inputs.counted(unit).references, at=at), on=["dataset", "reference"], how="left"
            )
            heading = f"at {share:.0%}" + (" " if unit == FLOPS else "")
            columns |= render.value(there, "gain", (group, heading), ends=True)
    columns |= {("", "Seeds"): render.seeds(rows)["Seeds"]}
    whose = "".join(f" of the model of run `{run}`" for run in rows["run"].unique())
    caption = (
        f"References for a choice among the actions{whose}: gain in accuracy over the mixing "
        "hull at 25, 50 and 75% of FULL's cost, in vision tokens and in counted FLOPs beyond not "
        "looking, means over seeds with the 95% interval over questions and seeds. None pays "
        "for what it knows. Perfect choice: by the outcomes themselves, lucky guesses included."
        " Choice by outcomes elsewhere: by what the models of other seeds made of the same "
        "question, and by the text; left out where there is one seed. Choice by the text, "
        "fitted on the set itself: by category, words and hidden state, cross-fitted on the "
        "other questions; an estimate of what the text can tell, which a policy fitted on more "
        "questions may exceed. Router fitted on outcomes: by category, fitted on training "
        "questions. One action per dataset: over all sets with equal weight, beyond the same "
        "mixture of actions on all of them."
    )
    kept = pd.concat([inputs.references, inputs.counted(FLOPS).references], ignore_index=True)
    brief = (
        f"References for a choice among the actions{whose}: gain in accuracy over the mixing "
        "hull at 25, 50 and 75% of FULL's cost, and at half of the counted FLOPs beyond not "
        "looking, means over seeds with the 95% interval over questions and seeds. None pays "
        "for what it knows."
    )
    dear = [(group, f"at {share:.0%} ") for share in AT.values() if share != 0.5]
    short = render.Short(brief, render.without(columns, *dear, ("", "Seeds")))
    return render.Table(caption, kept, columns, short)

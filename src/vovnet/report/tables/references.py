"""What could be reached on the questions of each set, by how much is known of them."""

from vovnet.evaluation.columns import GAIN_SHARES
from vovnet.report import render
from vovnet.report.inputs import Inputs, of

ORDER = 72


def table(inputs: Inputs) -> render.Table:
    """A row per dataset and reference; none where no experiment has a curve."""
    rows = inputs.references.drop_duplicates(["dataset", "reference"]).reset_index(drop=True)
    columns: render.Text = {"Dataset": rows["dataset"], "Known": rows["title"]}
    for at in (name.removeprefix("gain_at_") for name in GAIN_SHARES):
        there = rows[["dataset", "reference"]].merge(
            of(inputs.references, at=at), on=["dataset", "reference"], how="left"
        )
        columns |= render.value(there, "gain", f"Gain at {at}% ↑ [points]", ends=True)
    columns |= render.seeds(rows)
    caption = (
        "References for a choice among the actions: gain in accuracy over the mixing hull at 25, "
        "50 and 75% of FULL's cost, means over seeds with the 95% interval over questions and "
        "seeds. Perfect choice: by the outcomes themselves, lucky guesses included. Choice by "
        "outcomes elsewhere: by what the models of other seeds made of the same question, and by "
        "the text; left out where there is one seed. Ceiling of a text-only policy: by category, "
        "words and hidden state, fitted on the other questions of the set itself. Router fitted "
        "on outcomes: by category, fitted on training questions. One action per dataset: over all "
        "sets with equal weight, beyond the same mixture of actions on all of them."
    )
    return render.Table(caption, inputs.references, columns)

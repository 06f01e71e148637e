"""The deployable number: what is saved at an accuracy at most a point below FULL."""

from vovnet.evaluation.columns import AT_MOST, DIVISIONS, column_of
from vovnet.report import render
from vovnet.report.inputs import Inputs

ORDER = 65


def table(inputs: Inputs) -> render.Table:
    """A row per dataset, policy that has a frontier, and rule."""
    rows = inputs.deployable
    live = rows["mode"] == "live"
    asked = render.texts(rows.index, map(", live, {:g} questions".format, rows["num_questions"]))
    columns: render.Text = {
        "Dataset": rows["dataset"],
        "Method": rows["title"] + asked.where(live, ""),
    }
    columns |= {"Rule": rows["rule"]}
    columns |= render.value(rows, "tokens_saved", ends=True)
    timed = ("ms_saved",) if live.any() else ()
    for name in ("flops_saved", *timed, "looks_saved", "difference", "broken"):
        columns |= render.value(rows, name)
    columns |= render.seeds(rows)
    points = f"{100 * AT_MOST:g} point"
    caption = (
        f"What is saved at an accuracy at most {points} below that of always FULL. The operating "
        "point is chosen on one half of the questions, the one of fewest vision tokens that keeps "
        "the promise there by its mean, or surely, by the lower end of a one-sided 95% interval; "
        f"and it is measured on the other half. Means over {DIVISIONS} divisions and over seeds, "
        "the interval holds 95% of the divisions. Saved: of the vision tokens and the "
        "counted FLOPs of always FULL, and of its looks. Difference: accuracy above FULL's. "
        f"Broken: how often the other half is more than {points} below FULL."
    )
    if live.any():
        caption += (
            " Live runs choose among the points that they timed, and save time as it was measured;"
            " they were asked the number of questions that is given."
        )
    brief = (
        f"What is saved at an accuracy at most {points} below that of always FULL, by a point that "
        "is chosen on one half of the questions (by its mean, or surely) and measured on the "
        "other. Difference: accuracy above FULL's. Broken: how often the promise is."
    )
    saved = [column_of(name).title for name in (*timed, "looks_saved")]
    short = render.Short(brief, render.without(columns, *saved, "Seeds"))
    return render.Table(caption, rows, columns, short, inputs.is_main(rows))

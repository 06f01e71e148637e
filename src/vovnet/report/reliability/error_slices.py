"""The worst slices of each field of a dataset, by the upper end of their interval."""

from vovnet.evaluation.columns import rate_columns
from vovnet.evaluation.error_slices import worst
from vovnet.report import render
from vovnet.report.inputs import over_seeds
from vovnet.report.reliability import SKIPS, SLICE, Errors

ORDER = 120
WORST_PER_FIELD = 3


def table(errors: Errors) -> render.Table:
    by = ["dataset", "experiment", "point", "lambda_cost", "field", "value"]
    averages = (*SLICE, *rate_columns(errors.settings.actions), *SKIPS)
    rows = over_seeds(errors.slices, by, ("accuracy",), averages)
    rows = worst(rows, WORST_PER_FIELD, keys=("dataset", "experiment", "point"))
    rows = errors.by_dataset(rows)
    columns = (
        render.method(errors.settings, rows)
        | render.swept(errors.settings, rows)
        | {"Field": rows["field"], "Value": rows["value"]}
        | render.value(rows, "num_questions")
        | render.accuracy(rows)
        | render.value(rows, "gap")
        | render.value(rows, "false_skip_rate", stem="false_skip", ends=True)
    )
    caption = (
        f"The {WORST_PER_FIELD} worst slices of each field: lowest upper end of Wilson's 95% "
        "interval, so that small slices do not come first by chance. Fields with one value are "
        f"left out. {errors.place}"
    )
    brief = (
        "The worst slice of each field: lowest upper end of Wilson's 95% interval. " + errors.place
    )
    first = ~rows.duplicated(["dataset", "experiment", "point", "field"])
    short = render.Short(brief, render.without(columns, render.INTERVAL), first)
    return render.Table(caption, rows, columns, short)

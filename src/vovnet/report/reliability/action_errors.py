"""Each action per dataset: how often, how good, how unsure, how dear, and wrongly blind."""

from vovnet.report import render
from vovnet.report.inputs import of, over_seeds
from vovnet.report.reliability import SKIPS, SLICE, Errors

ORDER = 110


def table(errors: Errors) -> render.Table:
    by = ["dataset", "experiment", "point", "value"]
    rows = over_seeds(
        of(errors.slices, field="action"), by, ("accuracy", "avg_cost"), (*SLICE, *SKIPS)
    )
    rows = errors.by_dataset(rows)
    columns = (
        render.method(errors.settings, rows)
        | render.swept(errors.settings, rows)
        | {"Action": rows["value"].map(render.label)}
        | render.value(rows, "num_rows")
        | render.accuracy(rows)
        | render.value(rows, "avg_entropy")
        | render.value(rows, "avg_cost")
        | render.value(rows, "false_skip_rate", stem="false_skip", ends=True)
    )
    caption = (
        "Errors by action, per dataset. Answers: mean number over seeds. "
        "False skips: share of the NO answers that FULL would have improved, with Wilson's 95% "
        f"interval, as for accuracy (ends averaged over seeds). {errors.place}"
    )
    return render.Table(caption, rows, columns)

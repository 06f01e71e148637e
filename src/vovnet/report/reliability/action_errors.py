"""Each action per dataset: how often, how good, how unsure, how dear, and wrongly blind."""

from __future__ import annotations

from vovnet.report import text
from vovnet.report.inputs import of, over_seeds
from vovnet.report.reliability import SKIPS, SLICE, Errors
from vovnet.report.render import Table, label

ORDER = 110


def table(errors: Errors) -> Table:
    by = ["dataset", "experiment", "value"]
    rows = over_seeds(
        of(errors.slices, field="action"), by, ("accuracy", "avg_cost"), (*SLICE, *SKIPS)
    )
    rows = errors.by_dataset(rows)
    columns = (
        text.method(errors.settings, rows)
        | {"Action": rows["value"].map(label)}
        | text.value(rows, "num_rows")
        | text.accuracy(rows)
        | text.value(rows, "avg_entropy")
        | text.value(rows, "avg_cost")
        | text.value(rows, "false_skip_rate", stem="false_skip", ends=True)
    )
    caption = (
        f"Errors by action at λ = {errors.settings.report.target_lambda:g}, per dataset. Answers: "
        "mean number over seeds. False skips: share of the NO answers that FULL would have "
        "improved, with Wilson's 95% interval, as for accuracy (ends averaged over seeds)."
    )
    return Table(caption, rows, columns)

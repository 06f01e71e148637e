"""The shares of the actions at every point of every policy that chooses among them."""

from vovnet.evaluation.columns import rate_columns
from vovnet.report import render
from vovnet.report.inputs import METHOD, Inputs, of, summary

ORDER = 40


def table(inputs: Inputs) -> render.Table:
    points = summary(inputs).pipe(of, mode="replay")
    rates = dict(zip(inputs.actions, rate_columns(inputs.actions), strict=True))
    cheapest = next(iter(rates.values()))
    points = points[points[f"{cheapest}_mean"].notna()].reset_index(drop=True)
    measures = (*rates.values(), "avg_cost", "accuracy")
    measured = [f"{name}_{end}" for name in measures for end in ("mean", "sd")]
    rows = points[[*METHOD, "point", "num_seeds", *inputs.setting_columns, *measured]]
    columns = render.point(inputs.settings, rows)
    for action, rate in rates.items():
        columns |= render.value(rows, rate, f"{render.label(action)} [%]", deviation=True)
    columns |= render.value(rows, "avg_cost") | render.value(rows, "accuracy")
    caption = "Shares of the actions, mean ± standard deviation over seeds."
    main = inputs.is_main(rows)
    short = render.Short(caption, list(columns), main if main.any() else None)
    return render.Table(caption, rows, columns, short, main)

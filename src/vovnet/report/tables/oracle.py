"""The oracles' table: what choosing the cheapest correct action would reach, beside VoVNet."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from vovnet.report import text
from vovnet.report.inputs import Inputs, of
from vovnet.report.points import SAME, TOLERANCE, operating_points
from vovnet.report.render import DASH, Table, texts

ORDER = 70
ORACLES = ("oracle", "oracle_full_correct")
BESIDE = ("always_full", "bayes_router")
CHECKS = {"as_accurate": "Accuracy ≥ VoVNet", "as_cheap": "Cost ≤ VoVNet"}


def table(inputs: Inputs) -> Table:
    """Both oracles, VoVNet at `report.target_lambda`, always FULL and the Bayes router.

    The two checks of an oracle are counted over seeds: accuracy at least, cost at most that of
    VoVNet on the same questions.
    """
    points = operating_points(inputs)
    oracles = inputs.experiments(*ORACLES)
    shown = [*oracles, *inputs.experiments(*BESIDE)]
    mains = {dataset: inputs.main(dataset) for dataset in inputs.datasets()}
    is_main = points["experiment"] == points["dataset"].map(mains)
    rows = points[is_main | points["experiment"].isin(shown)].reset_index(drop=True)
    checked = [
        _checks(inputs, row) if row["experiment"] in oracles else {} for _, row in rows.iterrows()
    ]
    rows = rows.join(pd.DataFrame(checked, columns=["seeds_compared", *CHECKS], index=rows.index))
    columns = (
        text.method(inputs.settings, rows)
        | text.value(rows, "accuracy", deviation=True)
        | text.value(rows, "avg_cost")
        | text.shares(rows, inputs.actions)
        | {heading: texts(rows.index, _held(rows, key)) for key, heading in CHECKS.items()}
        | text.value(rows, "num_samples")
    )
    caption = (
        "What could be reached: the oracle takes the cheapest correct action, and NO where none "
        "is; the second oracle only where FULL is correct, and FULL elsewhere. VoVNet at "
        f"λ = {inputs.settings.report.target_lambda:g}, the router at the point nearest to it in "
        "cost. Checks: in how many seeds the oracle is at least as accurate, and at most as "
        "costly."
    )
    return Table(caption, rows.drop(columns=["mode", "point"]), columns)


def _checks(inputs: Inputs, row: pd.Series) -> dict[str, int]:
    """How many seeds of VoVNet are on the oracle's questions, and in how many each check holds."""
    points = of(inputs.points, dataset=row["dataset"])
    target = inputs.settings.report.target_lambda
    main = of(points, experiment=inputs.main(row["dataset"]))
    main = main[(main["lambda_cost"] - target).abs() <= TOLERANCE]
    pairs = of(points, experiment=row["experiment"]).merge(main, on=SAME, suffixes=("", "_vovnet"))
    accurate = pairs["accuracy"] >= pairs["accuracy_vovnet"] - TOLERANCE
    cheap = pairs["avg_cost"] <= pairs["avg_cost_vovnet"] + TOLERANCE
    counts = (len(pairs), int(accurate.sum()), int(cheap.sum()))
    return dict(zip(["seeds_compared", *CHECKS], counts, strict=True))


def _held(rows: pd.DataFrame, check: str) -> Iterator[str]:
    for compared, held in zip(rows["seeds_compared"], rows[check], strict=True):
        if pd.isna(compared) or compared == 0:
            yield DASH
        else:
            yield f"{'yes' if held == compared else 'no'} ({int(held)} of {int(compared)})"

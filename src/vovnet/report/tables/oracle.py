"""The oracles' table: what choosing the cheapest correct action would reach, beside VoVNet."""

from collections.abc import Iterator

import pandas as pd

from vovnet.report import render
from vovnet.report.inputs import SAME, TOLERANCE, Inputs, of, operating_points

ORDER = 70
ORACLES = ("oracle", "oracle_full_correct")
BESIDE = ("always_full", "bayes_router")
CHECKS = {"as_accurate": "Accuracy ≥ VoVNet", "as_cheap": "Cost ≤ VoVNet"}


def table(inputs: Inputs) -> render.Table:
    """Both oracles, VoVNet at `report.target_lambda`, always FULL and the Bayes router.

    The two checks of an oracle are counted over seeds: accuracy at least, cost at most that of
    VoVNet on the same questions. They are left out where VoVNet was not evaluated.
    """
    points, target = operating_points(inputs), inputs.settings.report.target_lambda
    checks = CHECKS if any(map(inputs.main, inputs.datasets())) else {}
    shown = inputs.experiments(*ORACLES, *BESIDE)
    rows = points[inputs.is_main(points) | points["experiment"].isin(shown)]
    rows = rows.merge(_checks(inputs), on=["dataset", "experiment"], how="left")
    columns = (
        render.method(inputs.settings, rows)
        | render.value(rows, "accuracy", deviation=True)
        | render.value(rows, "avg_cost")
        | render.shares(rows, inputs.actions)
        | {heading: render.texts(rows.index, _held(rows, key)) for key, heading in checks.items()}
        | render.value(rows, "num_samples")
    )
    caption = (
        "What could be reached: the oracle takes the cheapest correct action, and NO where none "
        "is; the second oracle only where FULL is correct, and FULL elsewhere."
    )
    if checks:
        caption += (
            f" VoVNet at λ = {target:g}, the router at the point nearest to it in cost. Checks: in"
            " how many seeds the oracle is at least as accurate, and at most as costly."
        )
    numbers = rows.drop(columns=["mode", "point"])
    return render.Table(caption, numbers, columns, main=inputs.is_main(rows))


def _checks(inputs: Inputs) -> pd.DataFrame:
    """In how many seeds an oracle is on VoVNet's questions, and in how many each check holds."""
    points = of(inputs.points, mode="replay")
    main = inputs.at_target(points[inputs.is_main(points)])
    oracle = points[points["experiment"].isin(inputs.experiments(*ORACLES))]
    pairs = oracle.merge(main, on=SAME, suffixes=("", "_vovnet")).assign(seeds_compared=True)
    pairs["as_accurate"] = pairs["accuracy"] >= pairs["accuracy_vovnet"] - TOLERANCE
    pairs["as_cheap"] = pairs["avg_cost"] <= pairs["avg_cost_vovnet"] + TOLERANCE
    counts = pairs.groupby(["dataset", "experiment"])[["seeds_compared", *CHECKS]].sum()
    return counts.reset_index()


def _held(rows: pd.DataFrame, check: str) -> Iterator[str]:
    for compared, held in zip(rows["seeds_compared"], rows[check], strict=True):
        words = f"{'yes' if held == compared else 'no'} ({held:g} of {compared:g})"
        yield words if compared > 0 else render.DASH

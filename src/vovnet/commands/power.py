"""`vovnet power`: how many questions a set needs to show a gain, from finished results."""

import argparse
import math
from argparse import Namespace

from vovnet.commands.common import Flag, configured, number
from vovnet.config import Settings

GAINS = (1.0, 2.0, 5.0)
NOT_TOLD = "; not told: the gain did not vary, or how much it varies is unknown (a single cluster)"


def points(text: str) -> float:
    """A gain in points, as an argument type."""
    value = number(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"expected points above 0, at most 100, got {text!r}")
    return value


def chance(text: str) -> float:
    """A chance, as an argument type."""
    value = number(text)
    if not 0.5 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a chance from 0.5 to below 1, got {text!r}")
    return value


@configured(
    "how many questions a set needs to show a gain over random mixing at 5%, from how much the gain"
    " of a finished experiment varied over questions and seeds",
    Flag("--experiment", help="a key of experiments with a sweep; VoVNet's first if left out"),
    Flag(
        "--gain",
        type=points,
        nargs="+",
        default=GAINS,
        metavar="POINTS",
        help="gains in points of accuracy to be shown (default: 1 2 5)",
    ),
    Flag("--power", type=chance, default=0.8, help="how likely they shall be shown (default: 0.8)"),
)
def power(settings: Settings, args: Namespace) -> None:
    """Print a row per set and share of FULL's cost."""
    import pandas as pd

    from vovnet.config.experiments import ablation_experiments
    from vovnet.core.errors import ConfigError
    from vovnet.evaluation.power import observed_gains

    name = args.experiment or next(iter(ablation_experiments(settings)), None)
    if name is None:
        raise ConfigError("experiments: no sweep of VoVNet's lambda_cost, expected --experiment")
    rows, gains = [], observed_gains(settings, settings.layout, name)
    for item in gains:
        row = {"set": item.dataset, "at": f"{item.at}%", "questions": str(item.num_questions)}
        row |= {"clusters": str(item.num_clusters), "seeds": str(item.num_seeds)}
        least = item.detectable(1, args.power)
        row |= {"gain": f"{item.gain:.1f}"}
        nothing = "no gain" if item.varies else "not told"
        row |= {"shown from": nothing if math.isnan(least) else f"{least:.1f}"}
        for gain in args.gain:
            needed = item.needed(gain, args.power)
            nothing = "no number" if item.varies else "not told"
            row[f"for {gain:g}"] = f"{needed:,.0f}" if math.isfinite(needed) else nothing
        rows.append(row)
    table = pd.DataFrame(rows)
    print(f"{name}: gain in points over random mixing, at shares of FULL's cost")
    print(table.to_markdown(index=False, disable_numparse=True))
    print(
        f"shown from: the least true gain that so many questions and seeds show with a chance of"
        f" {args.power:g}; for X: the questions that show X points; no number: too few seeds"
        + ("" if all(item.varies for item in gains) else NOT_TOLD)
    )

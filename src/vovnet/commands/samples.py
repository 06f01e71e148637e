"""`vovnet samples`: what an experiment did on each question, beside what it was asked."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from vovnet.commands.common import Flag, configured
from vovnet.core.shown import csv_text

if TYPE_CHECKING:
    from vovnet.config import Settings

COLUMNS = ["dataset", "seed", "point", "id", "question", "gold", "view", "prediction", "score"]
"""What is printed for people."""

SHOWN = 20
MAX_CHARS = 40
"""Of rows, and of the text in each of their columns."""


@configured(
    "print what a finished experiment did on each question, beside the question, its gold and its"
    " pictures",
    Flag("experiment", help="a key of experiments"),
    Flag(
        "--csv",
        action="store_true",
        help=f"print every row and column as CSV, not the first {SHOWN} rows for people",
    ),
)
def samples(settings: Settings, args: Namespace) -> None:
    from vovnet.evaluation.joined import joined_samples

    rows = joined_samples(settings, settings.layout, args.experiment)
    if args.csv:
        sys.stdout.write(csv_text(rows))
        return
    told = rows[COLUMNS].head(SHOWN).astype(str)
    for name in COLUMNS:
        told[name] = told[name].str.split().str.join(" ")
        long = told[name].str.len() > MAX_CHARS
        told[name] = told[name].where(~long, told[name].str[: MAX_CHARS - 3] + "...")
    print(told.to_markdown(index=False, disable_numparse=True))
    print(f"{len(told)} of {len(rows)} rows, in short; --csv prints all")

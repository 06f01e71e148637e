"""The one way to write the columns of a table: rows of numbers and the catalogue give the text.

Each function returns heading -> text, so that a table joins them with `|`. A heading may be a
pair, of a group of columns and of the column in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from vovnet.config import Settings
from vovnet.evaluation.columns import column_of, rate_columns
from vovnet.report.inputs import point_label
from vovnet.report.render import DASH, intervals, number, numbers, shares_heading, texts

Heading = str | tuple[str, str]
Text = dict[Heading, pd.Series]

INTERVAL = "95% interval"
SEEDS_NOTE = (
    "Accuracy: mean ± standard deviation over seeds; 95% interval: average over seeds of each "
    "seed's bootstrap interval."
)


def value(
    rows: pd.DataFrame,
    name: str,
    heading: Heading = "",
    *,
    stem: str = "",
    deviation: bool = False,
    ends: bool = False,
) -> Text:
    """A column of the catalogue: its mean over seeds where there is one, else its value.

    `deviation` adds the standard deviation and `ends` the interval, from the columns `<stem>_sd`,
    `<stem>_lo` and `<stem>_hi`; the stem is the column's name unless it is given.
    """
    column, stem = column_of(name), stem or name
    mean = next(key for key in (f"{stem}_mean", stem, name) if key in rows)
    text = numbers(column.scale * rows[mean], column.digits)
    if deviation:
        spread = column.scale * rows[f"{stem}_sd"]
        added = (f" ± {number(sd, column.digits)}" if pd.notna(sd) else "" for sd in spread)
        text = text + texts(rows.index, added)
    if ends:
        low, high = (column.scale * rows[f"{stem}_{end}"] for end in ("lo", "hi"))
        text = (text + " " + intervals(low, high, empty="")).str.strip()
    return {heading or column.title: text}


def accuracy(rows: pd.DataFrame) -> Text:
    """Accuracy with its deviation over seeds, and its interval."""
    ends = (100 * rows["accuracy_lo"], 100 * rows["accuracy_hi"])
    return value(rows, "accuracy", deviation=True) | {INTERVAL: intervals(*ends)}


def shares(
    rows: pd.DataFrame, actions: Sequence[str], columns: Sequence[str] = (), heading: Heading = ""
) -> Text:
    """The shares of all actions in one column; a dash for views that are no action."""
    names = columns or [
        f"{name}_mean" if f"{name}_mean" in rows else name for name in rate_columns(actions)
    ]
    parts = [numbers(100 * rows[name], digits=0) for name in names]
    joined = texts(rows.index, map(" / ".join, zip(*parts, strict=True)))
    known = rows[names[0]].notna()
    return {heading or f"{shares_heading(actions)} [%]": joined.where(known, DASH)}


def method(settings: Settings, rows: pd.DataFrame) -> Text:
    """The dataset, and the experiment by its title."""
    titles = rows["experiment"].map(lambda name: settings.experiments[name].title)
    return {"Dataset": rows["dataset"], "Method": titles.astype(str)}


def point(settings: Settings, rows: pd.DataFrame) -> Text:
    """The dataset, the experiment, marked where it ran live, and the point of its sweep."""
    live = rows["mode"].map({"live": " (live)"}).fillna("")
    places = zip(rows["experiment"], rows["point"], strict=True)
    labels = texts(rows.index, (point_label(settings, *place) or DASH for place in places))
    return {"Dataset": rows["dataset"], "Method": rows["title"] + live, "Point": labels}


def seeds(rows: pd.DataFrame) -> Text:
    """The number of seeds behind a row."""
    return {"Seeds": rows["num_seeds"].astype(str)}

"""Tables for people: names, numbers and columns as text, in Markdown, and as files.

Columns are written in one way: rows of numbers and the catalogue give heading -> text, so that a
table joins them with `|`. A heading may be a pair, of a group of columns and of the column in it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from vovnet.config import PolicySettings, Settings, policy_points
from vovnet.core.files import write_text
from vovnet.core.shown import csv_text, from_markdown_cell, markdown_cell
from vovnet.evaluation.columns import CATALOGUE, SETTINGS, column_of, rate_columns
from vovnet.report.discovery import SUFFIXES
from vovnet.report.latex import appendix_table, grouped, short_table

Heading = str | tuple[str, str]
Text = dict[Heading, pd.Series]

INTERVAL = "95% interval"
SEEDS_NOTE = (
    "Accuracy: mean ± standard deviation over seeds; 95% interval: average over seeds of each "
    "seed's bootstrap interval."
)

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Short:
    """A caption of its own, and the columns and rows of a table that it is about."""

    caption: str
    columns: Sequence[Heading]
    rows: pd.Series | None = None


@dataclass(frozen=True)
class Table:
    """`numbers` for machines, `columns` for people: heading -> text, or (group, heading) -> text.

    `short` is what a page of two columns shows instead, where there is more than it has room for;
    `main` are the rows that stand out, those of the method that the table is about.
    """

    caption: str
    numbers: pd.DataFrame
    columns: Mapping[Any, pd.Series]
    short: Short | None = None
    main: pd.Series = field(default_factory=lambda: pd.Series(dtype=bool))

    @property
    def text(self) -> pd.DataFrame:
        return pd.DataFrame(self.columns)


def write_table_files(name: str, table: Table, folder: Path) -> list[Path]:
    """Write a table in each of its forms; equal tables give equal bytes."""
    paths = [folder / (name + suffix) for suffix in SUFFIXES["table"]]
    write_text(paths[0], csv_text(table.numbers, float_format="%.10g"))
    write_text(paths[1], to_markdown(table.text) + f"\n{table.caption}\n")
    short = table.short or Short(table.caption, list(table.columns))
    shown = table.text if short.rows is None else table.text[short.rows]
    shown = shown[list(short.columns)]
    write_text(paths[2], short_table(name, short.caption, shown, table.main))
    write_text(paths[3], appendix_table(name, table.caption, table.text, table.main))
    return paths


def to_markdown(text: pd.DataFrame, *, padded: bool = True) -> str:
    """A table of pipes; two levels of names stand beside each other.

    `padded` columns are as wide as their longest text, which is no help where that is a paragraph.
    """
    escaped = text.map(lambda cell: markdown_cell(cell) if isinstance(cell, str) else cell)
    names = [" ".join(filter(None, name)) if grouped(text) else name for name in text.columns]
    if not padded:
        rows = [names, ["---"] * len(names), *escaped.to_numpy().tolist()]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return escaped.set_axis(names, axis=1).to_markdown(index=False, disable_numparse=True) + "\n"


def from_markdown(text: str) -> tuple[list[str], list[list[str]], str]:
    """The columns, the rows and the caption of a table's file."""
    lines, _, caption = text.partition("\n\n")
    cells = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in lines.splitlines()]
    columns, _, *rows = [[from_markdown_cell(cell.strip()) for cell in row] for row in cells]
    return columns, rows, caption.strip()


def number(value: float, digits: int = 1) -> str:
    """A rounded number with a true minus sign; an en dash where nothing was measured."""
    if math.isnan(value):
        return DASH
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def percent(share: float) -> str:
    return f"{number(100 * share)}%"


def numbers(means: pd.Series, digits: int = 1) -> pd.Series:
    return texts(means.index, (number(mean, digits) for mean in means))


def intervals(lows: pd.Series, highs: pd.Series, empty: str = DASH) -> pd.Series:
    """ "[low, high]" with one decimal."""
    written = "[" + numbers(lows) + ", " + numbers(highs) + "]"
    return written.where(lows.notna() & highs.notna(), empty)


def texts(index: pd.Index, values: Iterable[str]) -> pd.Series:
    return pd.Series(list(values), index=index, dtype=str)


def without(columns: Iterable[Heading], *left_out: Heading) -> list[Heading]:
    """The headings of a short table: those of the whole one but some."""
    return [heading for heading in columns if heading not in left_out]


# ---- names of actions and points, in words and briefly where columns are narrow ----------


def label(view: str) -> str:
    """The name of a view for people, such as "FULL", "64 px" or "FULL+merge-cosine-0.5"."""
    return "+".join(_parts(view, {}))


def short(actions: Sequence[str]) -> list[str]:
    """Brief names, such as "N", "64" or "F+m0.5"; the names for people where two would be equal."""
    names = []
    for action in actions:
        budget, *reductions = _parts(action, {"no": "N", "coarse": "C", "full": "F"})
        brief = [f"{text[0]}{text.rpartition('-')[2]}" for text in reductions]
        names.append("+".join([budget.removesuffix(" px"), *brief]))
    return names if len(set(names)) == len(names) else [label(action) for action in actions]


def shares_heading(actions: Sequence[str]) -> str:
    """What the shares of all actions in one column are called, such as "N / C / F"."""
    return " / ".join(short(actions))


def shares_note(actions: Sequence[str]) -> str:
    """The sentence in a caption that explains `shares_heading`."""
    return f"{shares_heading(actions)}: shares of the actions {words(actions)}."


def words(actions: Sequence[str]) -> str:
    """The names of all actions in a sentence, such as "NO, COARSE and FULL"."""
    *first, last = map(label, actions)
    return f"{', '.join(first)} and {last}" if first else last


def _parts(view: str, letters: dict[str, str]) -> list[str]:
    budget, *reductions = view.split("+")
    kind, _, size = budget.partition("-")
    names = {"side": f"{size} px", "pixels": f"{size} pixels", "log": size} | letters
    return [names.get(kind, budget.upper()), *reductions]


def point_label(settings: Settings, name: str, point: int) -> str:
    """The swept value of a point as a reader wants it, such as "λ = 0.02"; "" without a sweep."""
    experiment = settings.experiments[name]
    policy = policy_points(settings, name)[point]
    swept = [experiment.match.key] if experiment.match else list(experiment.sweep)
    if not swept and experiment.role == "vovnet":
        swept = ["lambda_cost"]
    return ", ".join(_assignment(policy, key) for key in swept)


def _assignment(policy: PolicySettings, key: str) -> str:
    """A swept setting and its value, named by the symbol of its column of results.csv, if any."""
    first, _, option = key.partition(".")
    name = option or first.removeprefix("baseline_")
    value = getattr(policy, first)[option] if option else getattr(policy, first)
    symbol = CATALOGUE[name].heading if name in SETTINGS else name
    return f"{symbol} = {plain(value)}"


def plain(value: object) -> str:
    """A setting's value in the fewest digits, infinity as its sign."""
    if isinstance(value, float):
        return "∞" if math.isinf(value) else f"{value:g}"
    return str(value)


# ---- columns of tables -------------------------------------------------------------------


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
    named: Text = {"Dataset": rows["dataset"], "Method": rows["title"] + live}
    return named | swept(settings, rows)


def swept(settings: Settings, rows: pd.DataFrame) -> Text:
    """The point of its sweep at which a row stands."""
    places = zip(rows["experiment"], rows["point"], strict=True)
    known = settings.experiments
    told = (point_label(settings, *place) if place[0] in known else "" for place in places)
    return {"Point": texts(rows.index, (label or DASH for label in told))}


def seeds(rows: pd.DataFrame) -> Text:
    """The number of seeds behind a row."""
    return {"Seeds": rows["num_seeds"].astype(str)}

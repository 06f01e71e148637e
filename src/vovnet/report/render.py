"""Renders tables for people: Markdown, and LaTeX with booktabs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vovnet.files import atomic_path, write_text

SUFFIXES = (".csv", ".md", ".tex")
DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TEX_SYMBOLS = str.maketrans(
    {
        DASH: "--",
        MINUS: "$-$",
        "±": r"$\pm$",
        "λ": r"$\lambda$",
        "∞": r"$\infty$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "→": r"$\to$",
        "≤": r"$\le$",
        "≥": r"$\ge$",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
    }
)


@dataclass(frozen=True)
class Table:
    """`numbers` for machines, `text` for people; `long` breaks over pages."""

    name: str
    caption: str
    numbers: pd.DataFrame
    text: pd.DataFrame
    long: bool = False


def write_table_files(table: Table, folder: Path) -> list[Path]:
    """Write a table in its three forms; equal tables give equal bytes."""
    paths = [folder / f"{table.name}{suffix}" for suffix in SUFFIXES]
    with atomic_path(paths[0]) as partial:
        table.numbers.to_csv(partial, index=False, lineterminator="\n", float_format="%.10g")
    write_text(paths[1], to_markdown(table.text) + f"\n{table.caption}\n")
    write_text(paths[2], to_latex(table))
    return paths


def to_markdown(text: pd.DataFrame) -> str:
    escaped = text.replace(r"\|", r"\\|", regex=True)
    return escaped.to_markdown(index=False, disable_numparse=True) + "\n"


def to_latex(table: Table) -> str:
    """A `table*` of the text width, or a longtable for one-column pages; a rule per dataset."""
    text = table.text.copy()
    first = ~text["Dataset"].duplicated()
    text.loc[~first, "Dataset"] = ""
    rules = text.index[first][1:]
    styler = text.style.hide(axis="index").format(escape="latex")
    styler = styler.format_index(escape="latex", axis="columns")
    if len(rules):
        styler = styler.format(r"\midrule {}".format, subset=(rules, ["Dataset"]), escape="latex")
    small: list[Any] = [
        {"selector": "fontsize", "props": r":{7}{8.5}\selectfont;"},
        {"selector": "setlength", "props": r":{\tabcolsep}{2.5pt};"},
    ]
    latex = styler.set_table_styles(small).to_latex(
        column_format="ll" + "r" * (text.shape[1] - 2),
        hrules=True,
        caption=table.caption.replace("%", r"\%"),
        label=f"tab:{table.name}",
        environment="longtable" if table.long else "table*",
        position=None if table.long else "t",
        position_float=None if table.long else "centering",
    )
    return latex.translate(TEX_SYMBOLS)


def number(value: float, digits: int = 1) -> str:
    """A rounded number with a true minus sign; an en dash where nothing was measured."""
    if math.isnan(value):
        return DASH
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def numbers(means: pd.Series, digits: int = 1) -> pd.Series:
    return texts(means.index, (number(mean, digits) for mean in means))


def with_deviation(means: pd.Series, deviations: pd.Series, digits: int = 1) -> pd.Series:
    """ "mean ± sd"; the mean alone where there is one seed."""
    pairs = zip(means, deviations, strict=True)
    return texts(
        means.index,
        (
            number(mean, digits) + ("" if math.isnan(sd) else f" ± {number(sd, digits)}")
            for mean, sd in pairs
        ),
    )


def intervals(lows: pd.Series, highs: pd.Series, empty: str = DASH) -> pd.Series:
    """ "[low, high]" with one decimal."""
    pairs = zip(lows, highs, strict=True)
    return texts(
        lows.index,
        (
            empty if math.isnan(low) or math.isnan(high) else f"[{number(low)}, {number(high)}]"
            for low, high in pairs
        ),
    )


def texts(index: pd.Index, values: Iterable[str]) -> pd.Series:
    return pd.Series(list(values), index=index, dtype=str)

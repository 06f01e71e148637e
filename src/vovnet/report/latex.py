r"""Tables for papers, as LaTeX with booktabs: a short variant, and everything for the appendix.

The first line of each file names the packages that it needs. The short variant is a `table*`, which
spans both columns of a page; the appendix variant is a `longtable` over pages of one column.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import pandas as pd

MAX_ROWS = 45
"""Rows that fit on a page; a short variant of more is divided, between datasets where possible."""

PAGE_PT, GAP_PT, CHARACTER_PT = 460, 5, 3.7
"""The width of a page's text, and about how wide a column's gap and a character are at 7 pt."""

SYMBOLS = {
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "±": r"$\pm$",
    "λ": r"$\lambda$",
    "Δ": r"$\Delta$",
    "†": r"$^\dagger$",
    "∞": r"$\infty$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\to$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
}
ESCAPED = SYMBOLS | {sign: f"\\{sign}" for sign in "%_&#${}"}
ESCAPED |= {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
AFTER_LATIN = 0x180
"""The first character that a plain LaTeX has no letter for."""

FONT = r"\fontsize{7}{8.5}\selectfont\setlength{\tabcolsep}{2.5pt}"
FIT = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{"
ONE_COLUMN = "% A longtable needs pages of one column, which begin here where there were two.\n"
ONE_COLUMN += "\\csname if@twocolumn\\endcsname\\onecolumn\\fi\n"
CONTINUED = r"\caption[]{(continued)}"
SAME_NUMBER = "\\addtocounter{table}{-1}\n"


def short_table(name: str, caption: str, text: pd.DataFrame, main: pd.Series) -> str:
    """A table across both columns of a page, shrunk where it is wider; rows of `main` are bold."""
    place = {"environment": "table*", "position": "htp", "position_float": "centering"}
    latex = _latex(_pages(text), main, caption, f"tab:{name}", **place)
    latex = latex.replace(
        "\\begin{tabular}", "\\vspace{1ex}\n" + FONT + "\n" + FIT + "\\begin{tabular}"
    )
    latex = latex.replace("\\end{tabular}", "\\end{tabular}}")
    return _with_needs("booktabs,graphicx", latex)


def appendix_table(name: str, caption: str, text: pd.DataFrame, main: pd.Series) -> str:
    """A table over pages of one column; what is wider than a page goes on in a further table."""
    label = f"tab:{name}_appendix"
    latex = _latex(_widths(text), main, caption, label, environment="longtable")
    head = f"{FONT}\\setlength{{\\LTcapwidth}}{{\\textwidth}}\n"
    return _with_needs("booktabs,longtable", f"{ONE_COLUMN}{{{head}{latex}}}\n")


def to_tex(text: object) -> str:
    """Text for TeX as it is to be printed: special characters escaped, control characters left out.

    Of a character that a plain LaTeX lacks its number is printed.
    """
    return "".join(map(_sign, unicodedata.normalize("NFC", str(text))))


def _sign(sign: str) -> str:
    if sign in ESCAPED:
        return ESCAPED[sign]
    if unicodedata.category(sign).startswith("C"):
        return " " if sign.isspace() else ""
    return sign if ord(sign) < AFTER_LATIN else rf"\texttt{{U+{ord(sign):04X}}}"


def _caption(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"\\texttt{\1}", to_tex(text))


def _with_needs(packages: str, latex: str) -> str:
    letters = "" if latex.isascii() else r"\usepackage[T1]{fontenc}"
    return f"% Needs: \\usepackage{{{packages}}}{letters}\n{latex}"


def _latex(
    parts: Iterable[pd.DataFrame], main: pd.Series, caption: str, label: str, **options: Any
) -> str:
    """The parts of a table one after the other, under one number."""
    written = []
    for number, part in enumerate(parts):
        text = _tex_rows(part, main)
        latex = (
            text.style.hide(axis="index")
            .format_index(to_tex, axis="columns")
            .to_latex(
                column_format="l" + "r" * (text.shape[1] - 1),
                hrules=True,
                multicol_align="c",
                caption=_caption(caption),
                label=None if number else label,
                **options,
            )
        )
        latex = latex.replace(f"\\caption[]{{{_caption(caption)}}}", CONTINUED)
        if number:
            latex = SAME_NUMBER + latex.replace(f"\\caption{{{_caption(caption)}}}", CONTINUED)
        written.append(_with_group_rules(latex, text.columns) if grouped(text) else latex)
    return "\n".join(written)


def _tex_rows(text: pd.DataFrame, main: pd.Series) -> pd.DataFrame:
    """The cells in TeX, those of main rows bold; datasets become headings over their rows."""
    text, headings = _without_dataset(text)
    tex = text.map(to_tex)
    stands_out = main.reindex(tex.index, fill_value=False)
    if not stands_out.all():
        tex = tex.mask(stands_out, tex.map("\\textbf{{{}}}".format))
    # At the beginning of a row TeX reads these two signs as part of the end of the row before.
    first = tex.iloc[:, 0].replace(r"^(?=[\[*])", "{}", regex=True)
    tex[tex.columns[0]] = headings.reindex(tex.index, fill_value="") + first
    return tex


def _without_dataset(text: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """The table without its column of datasets, and what stands before a row in TeX."""
    if not _has_datasets(text):
        return text, pd.Series(dtype=str)
    first = text.iloc[:, 0]
    first = first[~first.duplicated()]
    span = rf"\multicolumn{{{text.shape[1] - 1}}}{{l}}"
    headings = first.map(lambda dataset: f"{span}{{\\textbf{{{to_tex(dataset)}}}}} \\\\\n")
    rules = pd.Series("\\midrule\n", index=first.index[1:], dtype=str)
    return text.iloc[:, 1:], rules.reindex(first.index, fill_value="") + headings


def _has_datasets(text: pd.DataFrame) -> bool:
    name = text.columns[0]
    return "Dataset" in (name if grouped(text) else [name])


def _pages(text: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows in parts that fit on a page, those of a dataset together where that can be."""
    pages = [text.iloc[:0]]
    by = text.iloc[:, 0] if _has_datasets(text) else pd.Series(0, index=text.index)
    for _, rows in text.groupby(by, sort=False):
        for start in range(0, len(rows), MAX_ROWS):
            part = rows.iloc[start : start + MAX_ROWS]
            if len(pages[-1]) + len(part) <= MAX_ROWS:
                pages[-1] = pd.concat([pages[-1], part])
            else:
                pages.append(part)
    return pages


def _widths(text: pd.DataFrame) -> list[pd.DataFrame]:
    """The columns in parts that fit on a page; each has those by which the rows are told apart."""
    keys = next((n for n in range(1, 4) if not text.iloc[:, :n].duplicated().any()), 1)
    names = text.columns.get_level_values(-1)
    cells = [max(map(_length, [name, *text.iloc[:, place]])) for place, name in enumerate(names)]
    if grouped(text):
        groups = pd.Series(text.columns.get_level_values(0))
        shared = groups.map(_length) / groups.map(groups.value_counts())
        cells = [*map(max, cells, shared)]
    widths = [GAP_PT + CHARACTER_PT * count for count in cells]
    beside = sum(widths[int(_has_datasets(text)) : keys])
    parts: list[list[int]] = [[]]
    for place in range(keys, len(widths)):
        if parts[-1] and beside + sum(widths[at] for at in [*parts[-1], place]) > PAGE_PT:
            parts.append([])
        parts[-1].append(place)
    return [text.iloc[:, [*range(keys), *part]] for part in parts]


def _length(text: str) -> int:
    """The characters of a text, wide ones twice."""
    return len(text) + sum(map(text.count, "↑↓±%"))


def grouped(text: pd.DataFrame) -> bool:
    """Whether columns have two levels of names, of a group and of a column in it."""
    return isinstance(text.columns, pd.MultiIndex)


def _with_group_rules(latex: str, columns: pd.Index) -> str:
    """A rule under each group of columns, below every heading (longtables have two)."""
    groups = pd.Series(range(1, len(columns) + 1)).groupby(columns.get_level_values(0), sort=False)
    rules = [rf"\cmidrule(lr){{{places.min()}-{places.max()}}}" for name, places in groups if name]
    below = "\\\\\n" + "".join(rules) + "\n"
    head, *parts = latex.split("\\toprule\n")
    return "\\toprule\n".join([head, *(part.replace("\\\\\n", below, 1) for part in parts)])

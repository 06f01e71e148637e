"""Every table and figure of a report in one document: proof that a paper can include them all."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from vovnet.config import Settings
from vovnet.core.errors import DataError, VovnetError
from vovnet.core.files import atomic_path, read_log
from vovnet.core.layout import PAPER, Layout
from vovnet.report.discovery import LAST, discover
from vovnet.report.latex import to_tex

NAME = "paper.pdf"
PACKAGES = ("tables", "figures", "ablations", "reliability")
"""Where the modules of tables and figures are."""

PROGRAM = "pdflatex"
DEBIAN = "Debian: texlive-latex-base and texlive-latex-recommended"
MAX_RUNS = 5
"""Until the columns of long tables have their width, which each run of TeX tells the next."""

LIMIT_S = 300
"""The longest that one run of TeX may take."""

SAFE = {"openin_any": "p", "openout_any": "p", "shell_escape": "f"}
"""TeX reads and writes files of its own folder alone, and runs no program."""

PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[T1]{fontenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage[textwidth=7in,textheight=9.5in]{geometry}
\usepackage{booktabs,longtable,graphicx}
\begin{document}
"""
APPENDIX = "_appendix.tex"
COLUMN = "_column.pdf"


def write_document(settings: Settings, layout: Layout) -> list[Path]:
    """Compile `paper.pdf` in the report's folder from the tables and figures that are there.

    The report of the whole suite also takes those that are made once, for the paper.
    """
    if shutil.which(PROGRAM) is None:
        raise VovnetError(f"paper_pdf: this machine has no {PROGRAM} ({DEBIAN})")
    folders = dict.fromkeys([layout.paper, layout.of_report(PAPER).paper])
    tables, figures = _files(folders, "*.tex"), _files(folders, "*.pdf", "figures/*.pdf")
    if not tables and not figures:
        raise DataError(f"{layout.paper}: no table and no figure, expected those of the report")
    path = layout.paper / NAME
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for file in [*tables, *figures]:
            shutil.copy(file, work / file.name)
        text = source(settings.report.title, tables, figures)
        (work / "paper.tex").write_text(text, encoding="utf-8")
        compile_tex(work / "paper.tex")
        with atomic_path(path) as partial:
            shutil.copyfile(work / NAME, partial)
    return [path]


def compile_tex(path: Path) -> None:
    """Run TeX in the folder of a source until nothing changes; it writes a PDF beside it."""
    command = [PROGRAM, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", path.name]
    log = path.with_suffix(".log")
    for _ in range(MAX_RUNS):
        try:
            done = subprocess.run(
                command,
                cwd=path.parent,
                env=os.environ | SAFE,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            raise VovnetError(f"paper_pdf: TeX takes longer than {LIMIT_S} s") from None
        if done.returncode != 0:
            raise VovnetError(f"paper_pdf: TeX fails: {_first_error(log)}")
        if "Rerun" not in read_log(log):
            return


def source(title: str, tables: Iterable[Path], figures: Iterable[Path]) -> str:
    """The document's text: the first table and figure, all others, and the appendix's tables."""
    names = [path.name for path in tables]
    short = [name for name in names if not name.endswith(APPENDIX)]
    whole = [name for name in names if name.endswith(APPENDIX)]
    drawn = [path for path in figures if not path.name.endswith(COLUMN)]
    parts = {
        to_tex(title): [*map(_table, short[:1]), *map(_figure, drawn[:1])],
        "Tables": map(_table, short[1:]),
        "Figures": map(_figure, drawn[1:]),
        "Appendix: every column and row": map(_table, whole),
    }
    pages = (
        "\n".join([rf"\section*{{{heading}}}", *found, r"\clearpage"])
        for heading, items in parts.items()
        if (found := list(items))
    )
    return PREAMBLE + "\n".join(pages) + "\n\\end{document}\n"


def _table(name: str) -> str:
    return rf"\input{{{name}}}"


def _figure(path: Path) -> str:
    return (
        "\\begin{figure}[!htp]\n\\centering\n"
        rf"\includegraphics[width=\textwidth,height=0.9\textheight,keepaspectratio]{{{path.name}}}"
        f"\n\\caption{{{to_tex(path.stem.replace('_', ' '))}}}\n\\end{{figure}}"
    )


def _files(folders: Iterable[Path], *patterns: str) -> list[Path]:
    """Files in the order of their modules; those of the first folder stand for their namesakes."""
    files: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
            files.setdefault(path.name, path)
    files.pop(NAME, None)
    found = [item for package in PACKAGES for item in discover(f"vovnet.report.{package}")]
    orders = {name: item.order for item in found for name in item.files}
    return sorted(files.values(), key=lambda path: (orders.get(path.name, LAST), path.name))


def _first_error(log: Path) -> str:
    """The first error of TeX's log, and the line that it names."""
    lines = read_log(log).splitlines() if log.exists() else []
    errors = [place for place, line in enumerate(lines) if line.startswith("!")]
    if not errors:
        return "no error in its log"
    named = [line for line in lines[errors[0] :] if line.startswith("l.")]
    return " ".join([lines[errors[0]].removeprefix("! "), *named[:1]])

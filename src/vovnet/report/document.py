"""Every table and figure of a report in one document: proof that a paper can include them all."""

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
from vovnet.report.render import to_tex

NAME = "paper.pdf"
PACKAGES = ("tables", "figures", "ablations", "reliability")
"""Where the modules of tables and figures are."""

PROGRAMS = ("latexmk", "pdflatex")
DEBIAN = "Debian: texlive-latex-base, texlive-latex-recommended and latexmk"
PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage[textwidth=7in,textheight=9.5in]{geometry}
\usepackage{booktabs,longtable,graphicx}
\begin{document}
"""


def write_document(settings: Settings, layout: Layout) -> list[Path]:
    """Compile `paper.pdf` in the report's folder from the tables and figures that are there.

    The report of the whole suite also takes those that are made once, for the paper.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise VovnetError(f"paper_pdf: this machine has no {', '.join(missing)} ({DEBIAN})")
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
        command = ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            raise VovnetError(f"paper_pdf: TeX fails: {_first_error(work / 'paper.log')}")
        with atomic_path(path) as partial:
            shutil.copyfile(work / NAME, partial)
    return [path]


def source(title: str, tables: Iterable[Path], figures: Iterable[Path]) -> str:
    """The document's text; each table is on pages of its own."""
    parts = [rf"\section*{{{to_tex(title)}: tables}}"]
    parts += [rf"\input{{{path.name}}}" + "\n\\clearpage" for path in tables]
    parts += [rf"\section*{{{to_tex(title)}: figures}}"]
    parts += [_figure(path) for path in figures]
    return PREAMBLE + "\n".join(parts) + "\n\\end{document}\n"


def _figure(path: Path) -> str:
    return (
        "\\begin{figure}[!ht]\n\\centering\n"
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

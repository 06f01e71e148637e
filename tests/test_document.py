"""The document of every table and figure: its source, and that TeX compiles it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from vovnet.config import Settings
from vovnet.core.errors import DataError, VovnetError
from vovnet.core.layout import Layout
from vovnet.report.document import PROGRAMS, _files, source, write_document
from vovnet.report.render import MAX_ROWS, Table, to_latex, write_table_files
from vovnet.report.style import save

MISSING = [program for program in PROGRAMS if shutil.which(program) is None]
needs_tex = pytest.mark.skipif(
    bool(MISSING), reason=f"this machine has no {' and no '.join(MISSING)} to compile with"
)
SPECIAL = "50% of a_b & c ± λ Δ ≤ ≥ → ∞ † \N{EN DASH} \N{MINUS SIGN}1 \N{MULTIPLICATION SIGN} #$"


def table(count: int, *, long: bool = False, grouped: bool = False) -> Table:
    """A table with every sign that reports write, over two datasets."""
    text = pd.DataFrame(
        {
            "Dataset": ["synth_a"] * (count - 1) + ["synth_b"],
            "Method": [f"Method {row} {SPECIAL}" for row in range(count)],
            "Accuracy ↑ [%]": ["95.2 ± 1.6"] * count,
        }
    )
    if grouped:
        names = [("", "Dataset"), ("", "Method"), ("Gain_1 ↑ [%]", "at 50%")]
        text.columns = pd.MultiIndex.from_tuples(names)
    return Table(f"Of a table: {SPECIAL}", pd.DataFrame({"value": [1.5]}), dict(text), long)


def write_report(folder: Path) -> None:
    """A wide table, one in groups, an empty one, long ones, and a figure."""
    made = {
        "plain": table(3),
        "grouped": table(3, grouped=True),
        "long": table(4, long=True),
        "long_grouped": table(2 * MAX_ROWS, grouped=True),
        "empty": Table("Nothing.", pd.DataFrame(), dict(table(2).text.iloc[:0])),
    }
    for name, item in made.items():
        write_table_files(name, item, folder)
    figure = Figure(figsize=(7, 2))
    figure.subplots().plot([0, 1], [0, 1])
    save(figure, folder / "figures", "curve")


def test_a_table_of_many_rows_breaks_over_pages() -> None:
    assert r"\begin{table*}" in to_latex("few", table(MAX_ROWS))
    assert r"\begin{longtable}" in to_latex("many", table(MAX_ROWS + 1))


def test_datasets_are_headings_over_their_rows() -> None:
    lines = to_latex("few", table(3)).splitlines()
    assert r"\multicolumn{2}{l}{\textbf{synth\_a}} \\" in lines
    assert lines[lines.index(r"\multicolumn{2}{l}{\textbf{synth\_b}} \\") - 1] == r"\midrule"
    assert sum("synth" in line for line in lines) == 2


def test_the_source_includes_everything_by_name() -> None:
    text = source("A_B", [Path("x/main_table.tex")], [Path("x/figures/accuracy_cost.pdf")])
    assert r"\input{main_table.tex}" in text
    assert "keepaspectratio]{accuracy_cost.pdf}" in text
    assert r"\caption{accuracy cost}" in text
    assert r"A\_B: tables" in text


def test_files_come_in_the_order_of_their_modules(tmp_path: Path) -> None:
    for name in ("another", "pareto", "fallback", "ablations", "main_table"):
        (tmp_path / f"{name}.tex").touch()
    names = [path.stem for path in _files([tmp_path], "*.tex")]
    assert names == ["main_table", "pareto", "ablations", "fallback", "another"]


@needs_tex
def test_every_table_and_figure_compiles(tmp_path: Path) -> None:
    layout = Layout(tmp_path, report="suite")
    write_report(layout.paper)
    write_table_files("once", table(2), Layout(tmp_path).paper)
    (path,) = write_document(Settings(), layout)
    assert path == tmp_path / "suite" / "paper.pdf"
    assert path.read_bytes().startswith(b"%PDF")
    if shutil.which("pdftotext"):
        command = ["pdftotext", "-layout", str(path), "-"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert text.count("Of a table") >= 5 and "curve" in text
        assert "(continued)" in text


@needs_tex
def test_a_table_that_tex_refuses_is_one_line(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.paper.mkdir()
    (layout.paper / "broken.tex").write_text("\\undefinedcommand\n")
    with pytest.raises(VovnetError, match=r"^paper_pdf: TeX fails: Undefined control sequence"):
        write_document(Settings(), layout)
    assert not (layout.paper / "paper.pdf").exists()


@needs_tex
def test_without_a_report_there_is_no_document(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no table and no figure"):
        write_document(Settings(), Layout(tmp_path))


def test_without_tex_one_line_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VovnetError, match=r"^paper_pdf: this machine has no latexmk, pdflatex \("):
        write_document(Settings(), Layout(tmp_path))

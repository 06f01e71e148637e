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
from vovnet.report import document
from vovnet.report.document import PROGRAM, _files, compile_tex, source, write_document
from vovnet.report.latex import MAX_ROWS, appendix_table, short_table, to_tex
from vovnet.report.render import Short, Table, write_table_files
from vovnet.report.style import save

needs_tex = pytest.mark.skipif(
    shutil.which(PROGRAM) is None, reason=f"this machine has no {PROGRAM} to compile with"
)
SPECIAL = "50% of a_b & c ± λ Δ ≤ ≥ → ∞ † \N{EN DASH} \N{MINUS SIGN}1 \N{MULTIPLICATION SIGN} #$"
HOSTILE = "\\input{/etc/passwd} a<b>c ~ ^ {x} é 中 \x1b[31m\nend"


def table(count: int, *, grouped: bool = False) -> Table:
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
    main = pd.Series(text.index == 1, index=text.index)
    caption = f"Of a table: {SPECIAL}"
    return Table(caption, pd.DataFrame({"value": [1.5]}), dict(text), None, main)


def short(item: Table) -> str:
    return short_table("few", item.caption, item.text, item.main)


def appendix(item: Table) -> str:
    return appendix_table("few", item.caption, item.text, item.main)


def write_report(folder: Path) -> None:
    """A first table, one in groups, an empty one, a long, a wide and a hostile one; a figure."""
    narrow = table(3)
    headings = [name for name in narrow.columns if name != "Accuracy ↑ [%]"]
    wide = dict(table(3).text.assign(**{f"Column {n}": "95.2 [94.1, 96.3]" for n in range(20)}))
    hostile = {
        "Method": pd.Series([HOSTILE, "[1] first", "* second"]),
        "b": pd.Series([HOSTILE] * 3),
    }
    made = {
        "main_table": table(3),
        "grouped": table(3, grouped=True),
        "long_grouped": table(2 * MAX_ROWS, grouped=True),
        "empty": Table("Nothing.", pd.DataFrame(), dict(table(2).text.iloc[:0])),
        "wide": Table("Wide.", pd.DataFrame(), wide, Short("Brief.", headings)),
        "hostile": Table(HOSTILE, pd.DataFrame(), hostile),
    }
    for name, item in made.items():
        write_table_files(name, item, folder)
    figure = Figure(figsize=(7, 2))
    figure.subplots().plot([0, 1], [0, 1])
    save(figure, folder / "figures", "curve")
    save(figure, folder / "figures", "curve_column")


def pages_of(path: Path) -> list[str]:
    """The text of each page of a PDF; no page where this machine cannot read it."""
    if shutil.which("pdftotext") is None:
        return []
    command = ["pdftotext", "-layout", str(path), "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return text.split("\f")


def test_a_short_table_is_never_a_longtable() -> None:
    for count in (3, MAX_ROWS, 2 * MAX_ROWS):
        assert "longtable" not in short(table(count)).replace("% Needs", "")
    assert short(table(MAX_ROWS)).count(r"\begin{table*}") == 1
    # The rows of each dataset stand on pages of their own, under one number and one label.
    many = short(table(MAX_ROWS + 2))
    assert many.count(r"\begin{table*}") == 2
    assert many.count(r"\addtocounter{table}{-1}") == many.count("(continued)") == 1
    assert many.count(r"\label{tab:few}") == 1
    assert r"\begin{longtable}" in appendix(table(3))


def test_a_table_that_is_wider_than_a_page_goes_on_in_a_further_one() -> None:
    wide = table(3).text.assign(**{f"Column {n}": "95.2 [94.1, 96.3]" for n in range(20)})
    parts = appendix_table("few", "Wide.", wide, pd.Series(dtype=bool)).split(r"\endlastfoot")[1:]
    assert len(parts) > 2
    assert all("Method 0" in part and "Method 2" in part for part in parts)
    assert sum(part.count("95.2 [94.1, 96.3]") for part in parts) == 3 * 20


def test_datasets_are_headings_over_their_rows_and_the_main_method_is_bold() -> None:
    lines = short(table(3)).splitlines()
    assert r"\multicolumn{2}{l}{\textbf{synth\_a}} \\" in lines
    assert lines[lines.index(r"\multicolumn{2}{l}{\textbf{synth\_b}} \\") - 1] == r"\midrule"
    assert sum("synth" in line for line in lines) == 2
    bold = [line for line in lines if r"\textbf{95.2 $\pm$ 1.6}" in line]
    assert len(bold) == 1 and bold[0].startswith(r"\textbf{Method 1 ")


def test_data_is_text_for_tex() -> None:
    assert to_tex("\\input{file}") == r"\textbackslash{}input\{file\}"
    assert to_tex("a<b>c|~^%&_#$") == (
        r"a\textless{}b\textgreater{}c\textbar{}\textasciitilde{}\textasciicircum{}\%\&\_\#\$"
    )
    assert to_tex("a\x1b[31m\nb\u202ec\0") == "a[31m bc"
    assert to_tex("e\u0301 中") == r"é \texttt{U+4E2D}"


def test_the_document_begins_with_the_first_table_and_figure() -> None:
    tables = [Path(f"x/{name}.tex") for name in ("main_table", "main_table_appendix", "second")]
    figures = [Path(f"x/{name}.pdf") for name in ("accuracy_cost", "accuracy_cost_column")]
    text = source("A_B", tables, figures)
    places = ["section*{A\\_B}", "input{main_table.tex}", "]{accuracy_cost.pdf}"]
    places += ["input{second.tex}", "input{main_table_appendix.tex}"]
    found = [text.index(place) for place in places]
    assert found == sorted(found)
    assert r"\caption{accuracy cost}" in text and "_column" not in text


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
    settings = Settings.model_validate({"report": {"title": r"\input{paper.tex} of <us>"}})
    (path,) = write_document(settings, layout)
    assert path == tmp_path / "suite" / "paper.pdf"
    assert path.read_bytes().startswith(b"%PDF")
    if pages := pages_of(path):
        assert r"\input{paper.tex} of <us>" in pages[0]
        assert "Table 1: Of a table" in pages[0] and "Figure 1: curve" in "".join(pages[:2])
        text = "\n".join(pages)
        assert "once" not in text and text.count("Of a table") >= 4 and "(continued)" in text
        assert r"\input{/etc/passwd} a<b>c" in text and "[1] first" in text


@needs_tex
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_tables_compile_in_a_plain_article_with_the_packages_that_they_name(
    tmp_path: Path, columns: str
) -> None:
    write_report(tmp_path)
    paths = sorted(tmp_path.glob("*.tex"), key=lambda path: path.stem.endswith("_appendix"))
    texts = [path.read_text() for path in paths]
    needs = {text.splitlines()[0].removeprefix("% Needs: ") for text in texts}
    inputs = "".join(rf"\input{{{path.name}}}\clearpage" + "\n" for path in paths)
    head = rf"\documentclass[{columns}]{{article}}" + "\n".join(sorted(needs))
    plain = tmp_path / "plain.tex"
    plain.write_text(f"{head}\n\\begin{{document}}\n{inputs}\\end{{document}}\n")
    compile_tex(plain)
    log = plain.with_suffix(".log").read_text(errors="replace")
    # Only what stands in the appendix may be wider than such a narrow page.
    wide = log[: log.index("_appendix.tex")]
    assert "Overfull" not in wide and "Float too large" not in wide


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
    with pytest.raises(VovnetError, match=r"^paper_pdf: this machine has no pdflatex \("):
        write_document(Settings(), Layout(tmp_path))


@needs_tex
def test_tex_runs_no_program_reads_no_other_folder_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "work"
    folder.mkdir()
    text = "\\documentclass{article}\\begin{document}%s\\end{document}"
    path = folder / "paper.tex"
    path.write_text(text % r"\immediate\write18{touch made} x")
    compile_tex(path)
    assert not (folder / "made").exists()
    path.write_text(text % r"\input{../secret}")
    with pytest.raises(VovnetError, match="TeX fails"):
        compile_tex(path)
    path.write_text(text % r"\loop\iftrue\repeat")
    monkeypatch.setattr(document, "LIMIT_S", 1)
    with pytest.raises(VovnetError, match=r"^paper_pdf: TeX takes longer than 1 s$"):
        compile_tex(path)

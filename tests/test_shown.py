"""Texts of data, where a terminal, a spreadsheet or a page would take them for commands."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pandas as pd

from vovnet.core.errors import DataError, error_line
from vovnet.core.shown import csv_text, from_csv_text
from vovnet.evaluation.columns import read_columns, write_csv
from vovnet.report.render import Table, from_markdown, to_markdown, write_table_files

HOSTILE = ["=cmd|'/c calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "'=1", "-x", "+"]
HARMLESS = ["-1.5", "+2", "-3e-05", ".5", "5%", "'quoted'", "a=b", "", "[-1, 2]"]


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path: Path) -> None:
    rows = [{"dataset": text, "accuracy": -1.5} for text in [*HOSTILE, *HARMLESS]]
    path = tmp_path / "table.csv"
    write_csv(path, rows, ["dataset", "accuracy"])
    stored = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert stored["dataset"].tolist() == [*(f"'{text}" for text in HOSTILE), *HARMLESS]
    assert set(stored["accuracy"]) == {"-1.5"}
    read = read_columns(path, ["dataset"]).fillna("")
    assert read["dataset"].tolist() == [*HOSTILE, *HARMLESS]
    assert (read["accuracy"] == -1.5).all()


def test_columns_without_such_texts_keep_their_bytes() -> None:
    numbers = [1.0, -2.5, float("nan")]
    table = pd.DataFrame({"a": [1, None, "b"], "c": numbers, "d": [True, None, 2]})
    assert csv_text(table) == table.to_csv(index=False)
    empty = table.head(0)
    assert csv_text(empty) == "a,c,d\n"
    assert from_csv_text(pd.read_csv(StringIO(csv_text(empty)))).empty


def test_a_long_column_with_a_formula_takes_time_by_its_length() -> None:
    table = pd.DataFrame({"id": ["=1", *(f"sample-{number}" for number in range(20_000))]})
    began = time.process_time()
    assert csv_text(table).startswith("id\n'=1\nsample-0\n")
    assert time.process_time() - began < 2


def test_a_markdown_table_has_no_html_links_or_control_characters(tmp_path: Path) -> None:
    texts = ["<img src=x onerror=a()>", "![a](http://b)", "a\nb", "a|b", "\x1b[31m", "a < b, [0]"]
    columns = {"Method": pd.Series(texts)}
    paths = write_table_files("t", Table("Caption.", pd.DataFrame(columns), columns), tmp_path)
    written = paths[1].read_text()
    assert not [text for text in ("| <img", "](http", "\x1b", "a\nb") if text in written]
    assert "| a < b, [0] " in written
    cells = [row[0] for row in from_markdown(written)[1]]
    assert cells == [*texts[:2], "a b", "a|b", "\\x1b[31m", texts[-1]]


def test_a_backslash_in_a_markdown_cell_does_not_undo_what_is_escaped() -> None:
    texts = [r"\<img src=x onerror=a()>", r"\\<b>", r"a\|b", r"a\(b", r"![a]\(b)", "ends with \\"]
    written = to_markdown(pd.DataFrame({"a": texts, "b": "c"}))
    assert not re.search(r"(?<!\\)(\\\\)*(<\w|\|\w)", written), "an even number escapes nothing"
    assert [row[0] for row in from_markdown(written)[1]] == texts


PRINTS = """
from vovnet import cli
from vovnet.commands import steps
from vovnet.commands.common import Command

steps.tables = Command("", (), lambda _: print("a\\x1b[2Jb"))
cli.main(["tables"])
"""


def test_nothing_from_data_commands_a_terminal() -> None:
    line = error_line(DataError("a\x1b]0;title\x07b\u202e\u061c\nc"))
    assert line == r"a\x1b]0;title\x07b\u202e\u061c" + "\nc"
    terminal, end = pty.openpty()
    subprocess.run([sys.executable, "-c", PRINTS], stdout=end, check=True)
    os.close(end)
    assert os.read(terminal, 1000) == b"a\\x1b[2Jb\r\n"
    piped = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, check=True)
    assert piped.stdout == b"a\x1b[2Jb\n", "what another program reads keeps its bytes"

"""The paper's tables, each as .csv (numbers), .md and, in two variants, LaTeX (for people).

Means and standard deviations (ddof 1) are taken over seeds. The 95% interval is the average
over seeds of the bootstrap interval that each seed's row of results.csv carries. A value that
was not measured is empty in CSV and an en dash elsewhere.
"""

from pathlib import Path

from vovnet.config import Settings
from vovnet.core.layout import Layout
from vovnet.report.discovery import load
from vovnet.report.inputs import finish, load_inputs
from vovnet.report.render import write_table_files


def write_tables(settings: Settings, layout: Layout) -> list[Path]:
    """Write every table and, last, `tables.manifest.json`; returns the tables' files."""
    inputs = load_inputs(settings, layout)
    written: list[Path] = []
    for name, module in load("vovnet.report.tables").items():
        written += write_table_files(name, module.table(inputs), layout.paper)
    manifest = layout.paper / "tables.manifest.json"
    return finish(manifest, "tables", settings, layout, inputs.files, written)

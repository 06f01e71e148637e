"""Where VoVNet errs: tables of its actions, worst slices, predictions and fallbacks, and a figure.

All at `report.target_lambda`. Means and standard deviations (ddof 1) are over seeds, ends of
intervals are averaged over seeds. Made once, for the paper.
"""

from __future__ import annotations

from pathlib import Path

from vovnet.config import Settings
from vovnet.core.layout import Layout
from vovnet.report.discovery import load
from vovnet.report.inputs import finish
from vovnet.report.reliability._errors import load_errors
from vovnet.report.render import write_table_files
from vovnet.report.style import draw_and_save


def write_reliability(settings: Settings, layout: Layout) -> list[Path]:
    """Write the tables, the figure and, last, `reliability.manifest.json`."""
    errors = load_errors(settings, layout)
    written: list[Path] = []
    for name, module in load("vovnet.report.reliability").items():
        if hasattr(module, "table"):
            written += write_table_files(name, module.table(errors), layout.paper)
        else:
            written += draw_and_save(module.figure, errors, layout.paper, name)
    manifest = layout.paper / "reliability.manifest.json"
    return finish(manifest, "reliability", settings, layout, errors.files, written)

"""The paper's figures, from results only.

Every figure is as wide as the text of a two-column paper and is written as PDF and PNG.
Lines are means over seeds, thin lines single seeds.
"""

from __future__ import annotations

from pathlib import Path

from vovnet.config import Settings
from vovnet.core.layout import Layout
from vovnet.report.discovery import load
from vovnet.report.inputs import finish, load_inputs
from vovnet.report.style import draw_and_save
from vovnet.report.training_logs import calibration_files, train_logs


def write_figures(settings: Settings, layout: Layout) -> list[Path]:
    """Draw every figure and, last, write `figures/manifest.json`; returns the figures' files."""
    inputs, folder = load_inputs(settings, layout), layout.paper / "figures"
    written: list[Path] = []
    for name, module in load("vovnet.report.figures").items():
        written += draw_and_save(module.figure, inputs, folder, name)
    logs = [path for path, _, _ in train_logs(inputs, *inputs.main_run())]
    read = [*inputs.files, *logs, *calibration_files(inputs).values()]
    return finish(folder / "manifest.json", "figures", settings, layout, read, written)

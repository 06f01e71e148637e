"""The ablations beside the default recipe. Made once, for the paper."""

from pathlib import Path

from vovnet.config import Settings
from vovnet.config.experiments import ablation_experiments
from vovnet.core.layout import Layout
from vovnet.evaluation.ablations import compare_ablations
from vovnet.report.ablations.ablations import table
from vovnet.report.inputs import finish
from vovnet.report.render import write_table_files


def write_ablations(settings: Settings, layout: Layout) -> list[Path]:
    """Write ablations.csv, .md and .tex and, last, `ablations.manifest.json`."""
    rows = compare_ablations(settings, layout)
    written = write_table_files("ablations", table(settings, rows), layout.paper)
    read = [layout.eval(name) / "samples.parquet" for name in ablation_experiments(settings)]
    manifest = layout.paper / "ablations.manifest.json"
    return finish(manifest, "ablation_table", settings, layout, read, written)

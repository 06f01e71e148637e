"""The bench as a whole: its parts one after the other, and the files that they leave."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from vovnet.commands.bench.batching import compare_batching
from vovnet.commands.bench.cache_reuse import compare_reuse
from vovnet.commands.bench.growth import compare_growth
from vovnet.commands.bench.measure import Line, machine
from vovnet.commands.bench.observe_once import compare_suite
from vovnet.commands.bench.prefill import compare_reductions
from vovnet.commands.bench.subject import open_bench
from vovnet.config import Settings
from vovnet.core.files import atomic_path, write_json, write_text
from vovnet.core.layout import Layout
from vovnet.evaluation.outcome import plain
from vovnet.pipeline.manifest import write_manifest
from vovnet.pipeline.trained_model import weights_file
from vovnet.report.render import to_markdown

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]

PARTS = ("suite", "batching", "reuse", "reductions", "growth")
"""The parts, each of which leaves a JSON file beside the table."""


def run_bench(settings: Settings, layout: Layout, progress: Progress) -> pd.DataFrame:
    """Measure all parts, write the results under `layout.bench`, and return them as a table."""
    torch.set_num_threads(settings.bench.num_threads)
    where = machine()
    folder = layout.bench
    shutil.rmtree(folder / "work", ignore_errors=True)
    bench = open_bench(settings, layout, folder / "work")
    with progress("rows of the suite") as tick:
        found = {"suite": compare_suite(bench, tick)}
    found["batching"] = compare_batching(bench)
    found["reuse"] = compare_reuse(bench)
    found["reductions"] = compare_reductions(bench)
    with progress("sizes") as tick:
        found["growth"] = compare_growth(bench, tick)
    shutil.rmtree(folder / "work", ignore_errors=True)
    lines = [line for part in PARTS for line in found[part][0]]
    outputs = {part: folder / f"{part}.json" for part in PARTS}
    for part, path in outputs.items():
        write_json(path, plain(found[part][1]))
    table = bench_table(lines)
    outputs |= _write_table(table, lines, folder, where)
    write_manifest(
        folder / "manifest.json",
        step="bench",
        settings=bench.settings,
        inputs={"checkpoint": weights_file(layout.stage(bench.run, bench.seed, 2))},
        outputs=outputs,
        run=bench.run,
        seed=bench.seed,
        machine=where,
    )
    return table


def bench_table(lines: list[Line]) -> pd.DataFrame:
    """A row for each line: the measured value, the requirement, and whether it is met."""
    return pd.DataFrame(
        [
            {
                "": line.part,
                "measured": line.what,
                "value": f"{line.value:.3g}",
                "required": line.requirement,
                "verdict": line.verdict,
                "of": line.note,
            }
            for line in lines
        ]
    )


def machine_text(where: dict[str, Any]) -> str:
    return (
        f"{where['cpu']}, {where['cores']} cores, {where['torch_threads']} torch threads,"
        f" device {where['device']}, torch {where['torch']},"
        f" load {where['load_average'][0]:.1f} at the start"
    )


def _write_table(
    table: pd.DataFrame, lines: list[Line], folder: Path, where: dict[str, Any]
) -> dict[str, Path]:
    paths = {"csv": folder / "bench.csv", "md": folder / "bench.md"}
    columns = ("part", "what", "value", "at_least", "at_most", "verdict", "note")
    rows = [{name: getattr(line, name) for name in columns} for line in lines]
    with atomic_path(paths["csv"]) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False, lineterminator="\n")
    write_text(paths["md"], to_markdown(table) + f"\n{machine_text(where)}\n")
    return paths

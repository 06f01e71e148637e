"""The bench as a whole: its parts one after the other, and the files that they leave."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pandas as pd
import torch

from vovnet.commands.bench.batching import compare_batching
from vovnet.commands.bench.cache_reuse import compare_reuse
from vovnet.commands.bench.growth import compare_growth
from vovnet.commands.bench.measure import machine
from vovnet.commands.bench.observe_once import compare_suite
from vovnet.commands.bench.prefill import compare_reductions
from vovnet.commands.bench.subject import open_bench
from vovnet.config import Settings
from vovnet.core.files import atomic_path, write_json, write_text
from vovnet.core.layout import Layout
from vovnet.pipeline.manifest import write_manifest
from vovnet.pipeline.trained_model import weights_file
from vovnet.report.render import to_markdown

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]

PARTS = ("suite", "batching", "reuse", "reductions", "growth")
"""The parts, each of which leaves a JSON file beside the table."""


def run_bench(settings: Settings, layout: Layout, progress: Progress) -> None:
    """Measure all parts and write the results under `layout.bench`."""
    torch.set_num_threads(settings.bench.num_threads)
    measured_on = machine()
    folder = layout.bench
    shutil.rmtree(folder / "work", ignore_errors=True)
    bench = open_bench(settings, layout, folder / "work")
    with progress("rows of the suite") as tick:
        results = {"suite": compare_suite(bench, tick)}
    results["batching"] = compare_batching(bench)
    results["reuse"] = compare_reuse(bench)
    results["reductions"] = compare_reductions(bench)
    with progress("sizes") as tick:
        results["growth"] = compare_growth(bench, tick)
    shutil.rmtree(folder / "work")
    outputs = {name: folder / f"{name}.json" for name in PARTS}
    for name, path in outputs.items():
        write_json(path, results[name][1])
    outputs |= {"csv": folder / "bench.csv", "md": folder / "bench.md"}
    table = pd.DataFrame([line.columns for name in PARTS for line in results[name][0]])
    with atomic_path(outputs["csv"]) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
    text = table.assign(value=table["value"].map("{:.3g}".format)).astype(object).fillna("")
    write_text(outputs["md"], to_markdown(text.astype(str)) + f"\n{machine_text(measured_on)}\n")
    write_manifest(
        folder / "manifest.json",
        step="bench",
        settings=bench.settings,
        inputs={"checkpoint": weights_file(layout.stage(bench.run, bench.seed, 2))},
        outputs=outputs,
        run=bench.run,
        seed=bench.seed,
        machine=measured_on,
    )


def machine_text(where: dict[str, Any]) -> str:
    return (
        f"{where['cpu']}, {where['cores']} cores, {where['torch_threads']} torch threads,"
        f" device {where['device']}, torch {where['torch']},"
        f" load {where['load_average'][0]:.1f} at the start"
    )

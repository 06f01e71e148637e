"""`vovnet bench`: measure ways of doing the same side by side, and compare what they cost."""

import shutil
from pathlib import Path

import pandas as pd
import torch

from vovnet.commands.bench.latency import compare_batching, compare_reductions, compare_reuse
from vovnet.commands.bench.observe_once import compare_growth, compare_suite
from vovnet.commands.bench.subject import machine, open_bench
from vovnet.config import Settings
from vovnet.core.files import atomic_path, json_ready, write_json, write_text
from vovnet.core.progress import progress
from vovnet.pipeline.manifest import write_manifest
from vovnet.pipeline.trained_model import weights_file

PARTS = ("suite", "batching", "reuse", "reductions", "growth")
"""The parts, each of which leaves a JSON file beside the table."""


def run_bench(settings: Settings) -> Path:
    """Measure all parts and write the results; returns the table as Markdown."""
    layout = settings.layout
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
        write_json(path, json_ready(results[name][1]))
    outputs |= {"csv": folder / "bench.csv", "md": folder / "bench.md"}
    lines = [line for name in PARTS for line in results[name][0]]
    table = pd.DataFrame([vars(line) | {"verdict": line.verdict} for line in lines])
    with atomic_path(outputs["csv"]) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
    text = table.assign(value=table["value"].map("{:.3g}".format)).astype(object).fillna("")
    where = (
        "{cpu}, {cores} cores, {torch_threads} torch threads, device {device}, torch {torch},"
        " load {load_average[0]:.1f} at the start"
    )
    shown = text.astype(str).to_markdown(index=False, disable_numparse=True)
    write_text(outputs["md"], f"{shown}\n\n{where.format(**measured_on)}\n")
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
    return outputs["md"]

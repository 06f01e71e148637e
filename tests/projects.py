"""Copies of the project for whole runs, and what of their results must not depend on the run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "rules", "workflow", "profiles", "slurm", "config", "envs", "src")
LIVE_TITLE = "(live)"
TIMINGS = re.compile("latency|mem_peak|samples_per_s")
COMPARED = (
    "data/**/*.jsonl",
    "runs/*/*/*/model.safetensors",
    "runs/*/*/*/calibration.json",
    "runs/*/*/*/train_log.jsonl",
    "observations/*/*/*/*.parquet",
    "eval/*/*",
    "eval/_hull/*/*",
    "paper/*.*",
)


def copy_project(folder: Path, root: Path = ROOT) -> None:
    """Copy everything that Snakemake needs, without results."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        source = root / name
        if source.is_symlink() or source.is_file():
            shutil.copy2(source, folder / name, follow_symlinks=False)
        else:
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def contents(results: Path) -> dict[str, object]:
    """Name -> content of everything that must not depend on interruptions."""
    return {str(path.relative_to(results)): timeless(path) for path in _compared(results)}


def _compared(results: Path) -> Iterator[Path]:
    for pattern in COMPARED:
        found = sorted(path for path in results.glob(pattern) if path.is_file())
        assert found, pattern
        for path in found:
            live = path.parent.name.startswith("profile_")
            timed = path.name.endswith(".timings.parquet") or live or path.stem == "profiling"
            timed |= path.name in ("main_table.md", "main_table.tex")  # they show latencies
            if not (timed and path.name != "samples.parquet") and "manifest" not in path.name:
                yield path


def timeless(path: Path) -> object:
    """The bytes of a file; of files that also hold timings, the rest."""
    if path.parent.name == "paper" and path.name.startswith(("pareto", "main_table")):
        if path.suffix == ".csv":
            table = pd.read_csv(path)
            return table[[name for name in table if not TIMINGS.search(name)]].to_csv()
        lines = path.read_text().splitlines()
        return [re.sub(r"[\s-]+", " ", line) for line in lines if LIVE_TITLE not in line]
    if path.name == "train_log.jsonl":
        logged = [json.loads(line) for line in path.read_text().splitlines()]
        return [{k: v for k, v in line.items() if not TIMINGS.search(k)} for line in logged]
    return path.read_bytes()

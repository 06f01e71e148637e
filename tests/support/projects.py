"""Copies of the project, calls of Snakemake in them, and what must not depend on the run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from support.repository import ROOT
from vovnet.config import merge, read_yaml, validate
from workflow.plan import Plan

PARTS = ("Snakefile", "rules", "workflow", "profiles", "slurm", "config", "envs", "src")
CONFIGS = ("config.yaml", "test.yaml", "paper.yaml")
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


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Rule -> number of jobs of a dry run."""
    result = snakemake(folder, "--dry-run", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    text = result.stdout + result.stderr
    assert "Job stats:" in text or "Nothing to be done" in text, text
    stats = text.partition("Job stats:")[2].partition("total ")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}


def plan(change: dict[str, Any] | None = None, config: str = "test.yaml") -> Plan:
    value = merge(read_yaml(ROOT / "config" / config), change or {})
    return Plan(validate(value, "test"))

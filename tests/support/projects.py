"""Copies of the project, calls of Snakemake in them, and what must not depend on the run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from support.repository import ROOT
from vovnet.config import merge, read_yaml, validate
from vovnet.pipeline.snakemake_private import planned_dag
from workflow.plan import Plan

PARTS = ("Snakefile", "rules", "workflow", "profiles", "slurm", "config", "envs", "src")
HALF_WRITTEN = ("*.pyc.*", "*.partial")
"""Byte code that another process is about to keep."""

CONFIGS = ("config.yaml", "test.yaml", "paper.yaml")
LIVE_TITLE = "(live)"
TIMINGS = re.compile("latency|mem_peak|samples_per_s|tokens_per_s|tflops|mfu")
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


class Project:
    """A copy of the project, in which Snakemake is called with the suite of config/test.yaml."""

    def __init__(self, folder: Path, *targets: str, root: Path = ROOT) -> None:
        """Copies the sources of `root` unless there is a project in `folder` already."""
        self.folder, self.targets = folder, targets
        self.results = folder / "results/test"
        if not (folder / "Snakefile").exists():
            copy_project(folder, root)

    def configure(self, layer: str) -> None:
        """Lay a layer of configuration over config/test.yaml."""
        (self.folder / "layer.yaml").write_text(layer)

    def start(self) -> subprocess.Popen[bytes]:
        configs = ("--configfile", "config/test.yaml", "layer.yaml")
        with (self.folder / "output.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "snakemake", *self.targets, *configs],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(self.folder / "src")},
            )

    def finish(self) -> str:
        """Run to the end; returns what was said."""
        before = len(self.output)
        assert self.start().wait() == 0, self.output[-4000:]
        return self.output[before:]

    @property
    def output(self) -> str:
        path = self.folder / "output.log"
        return path.read_text() if path.exists() else ""

    def kill_when(self, moment: Callable[[], bool]) -> bool:
        """Start, and kill -9 the whole process tree at a moment; False if it ended before."""
        process = self.start()
        while not moment():
            if process.poll() is not None:
                assert process.returncode == 0, self.output[-4000:]
                return False
            time.sleep(0.02)
        kill_tree(process.pid)
        process.wait()
        return True

    def contents(self) -> dict[str, object]:
        return contents(self.results)


def kill_tree(pid: int) -> None:
    """Stop every process first, so that none starts another while the others are killed."""
    parent = psutil.Process(pid)
    tree: set[psutil.Process] = set()
    while (found := {parent, *parent.children(recursive=True)}) - tree:
        for process in found - tree:
            tree.add(process)
            signal_to(process, signal.SIGSTOP)
    for process in tree:
        signal_to(process, signal.SIGKILL)
    psutil.wait_procs(tree - {parent}, timeout=10)


def signal_to(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def copy_project(folder: Path, root: Path = ROOT) -> None:
    """Copy everything that Snakemake needs, without results; byte code saves compiling."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        source = root / name
        if source.is_symlink() or source.is_file():
            shutil.copy2(source, folder / name, follow_symlinks=False)
        else:
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(*HALF_WRITTEN))


def keep_experiments(value: dict[str, Any], names: Sequence[str]) -> None:
    """Leave the other experiments of a configuration out, in the lists of its targets too."""
    value["experiments"] = {name: value["experiments"][name] for name in names}
    value["targets"] = {
        target: [name for name in listed if name in names]
        for target, listed in value["targets"].items()
    }


def contents(results: Path) -> dict[str, object]:
    """Name -> content of everything that must not depend on interruptions."""
    return {str(path.relative_to(results)): timeless(path) for path in _compared(results)}


def _compared(results: Path) -> Iterator[Path]:
    for pattern in COMPARED:
        found = sorted(path for path in results.glob(pattern) if path.is_file())
        assert found, pattern
        for path in found:
            live = path.parent.name.startswith("profile_")
            timed = path.name.endswith(".timings.parquet") or live
            shown = path.stem.removesuffix("_column").removesuffix("_appendix")
            timed |= shown in ("profiling", "training_speed", "report")
            timed |= shown == "main_table" and path.suffix != ".csv"  # these show latencies
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
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
    )


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Rule -> number of jobs of a dry run."""
    result = snakemake(folder, "--dry-run", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    text = result.stdout + result.stderr
    assert "Job stats:" in text or "Nothing to be done" in text, text
    stats = text.partition("Job stats:")[2].partition("total ")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}


def needed(folder: Path, target: str = "all", *configs: str, **overrides: Any) -> dict[str, int]:
    """Rule -> number of jobs, as `planned`, of a DAG that is built in this process.

    `overrides` are what `--config` would say.
    """
    files = [Path(name) for name in configs]
    with chdir(folder), planned_dag([target], files, False, 2, overrides) as dag:
        return dict(Counter(job.rule.name for job in dag.needrun_jobs()))


def plan(change: dict[str, Any] | None = None, config: str = "test.yaml") -> Plan:
    value = merge(read_yaml(ROOT / "config" / config), change or {})
    return Plan(validate(value, "test"))

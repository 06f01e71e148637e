"""The machine on which Snakemake runs: what it lacks ends Snakemake with one line.

Each check is made before the first job starts.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from gpu_leases import LeaseError
from gpu_leases.devices import visible_devices
from vovnet.core.checks import folder_fault
from vovnet.core.errors import ConfigError
from vovnet.core.files import read_text, write_text
from vovnet.core.layout import TAKEN

SLURM_PROGRAMS = ("sbatch", "squeue", "scancel")


def find_commands() -> None:
    """Let rules call `python -m vovnet`.

    With the interpreter that runs Snakemake where no environment is active, and with this source
    where a conda environment is made for the rule.
    """
    _prepend("PATH", Path(sys.executable).parent)
    _prepend("PYTHONPATH", Path(__file__).resolve().parents[1] / "src")


def _prepend(variable: str, folder: Path) -> None:
    folders = [str(folder), *filter(None, os.environ.get(variable, "").split(os.pathsep))]
    os.environ[variable] = os.pathsep.join(dict.fromkeys(folders))


def lock(results: Path) -> None:
    """Keep other Snakemake runs off a results folder until this process ends, however."""
    results.mkdir(parents=True, exist_ok=True)
    held = FileLock(results / ".lock", blocking=False)
    try:
        held.acquire()
    except Timeout:
        sys.exit(f"vovnet: error: {results}: another Snakemake run is at work there")
    atexit.register(held.release)  # until then this keeps it from being collected


def check_results_folder(root: Path) -> None:
    """Refuse a results folder that cannot be one, or in which nothing can be written."""
    for folder in (root, *(root / name for name in TAKEN)):
        if fault := folder_fault(folder):
            raise ConfigError(f"results_dir: {fault}")


# ---- GPUs ------------------------------------------------------------------------------


def check_gpus(declared: Mapping[str, int], limit: int | None = None) -> int:
    """End Snakemake where a rule asks for more GPUs than the limit, or than there are.

    `declared` maps rules to GPUs. Returns how many their jobs may use at once.
    """
    available = _visible_gpus() if declared and limit is None else limit or 0
    for rule, gpus in sorted(declared.items()):
        if gpus > available:
            sys.exit(
                f"vovnet: error: rule {rule} asks for {gpus} GPUs (see resources in the"
                f" configuration), but there are {available}"
            )
    return available


def _visible_gpus() -> int:
    try:
        return len(visible_devices())
    except LeaseError as error:
        sys.exit(f"vovnet: error: {error}")


# ---- Slurm -----------------------------------------------------------------------------


def check_slurm() -> None:
    """End Snakemake where Slurm's programs are missing."""
    if missing := [program for program in SLURM_PROGRAMS if shutil.which(program) is None]:
        sys.exit(
            f"vovnet: error: --profile slurm: this machine has no {', '.join(missing)}: call it"
            " on a login node of a Slurm cluster, or without --profile to run here"
        )


def check_earlier_jobs(results: Path, name: str) -> None:
    """End Snakemake where jobs of an earlier call are still in Slurm's queue.

    A killed Snakemake leaves them there, and they would write what this call's jobs write.
    `name` is what the jobs of this call are named in the queue.
    """
    record = results / ".slurm-jobs"
    if record.exists():
        earlier = read_text(record)
        command = ["squeue", "--noheader", "--format=%i", f"--name={earlier}"]
        listed = subprocess.run(command, capture_output=True, text=True)
        if listed.returncode != 0:
            reason = (listed.stderr.strip().splitlines() or ["no reason given"])[-1]
            sys.exit(
                f"vovnet: error: squeue does not tell whether jobs of an earlier call are at work"
                f" in {results}: {reason}"
            )
        if count := len(listed.stdout.split()):
            sys.exit(
                f"vovnet: error: {results}: {count} Slurm jobs of an earlier call are"
                f" still at work there: `scancel --name={earlier}` ends them"
            )
    write_text(record, name)

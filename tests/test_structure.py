"""How the files of the project lie: sizes, what test files may import, and what has one place."""

from __future__ import annotations

import ast
import re
from importlib import import_module

import pytest

from support.repository import ROOT

LIMITS = {"src/**/*.py": 400, "rules/*.smk": 150, "Snakefile": 150, "workflow/**/*.py": 400}
"""Pattern -> lines of a file that can still be read in one sitting."""

OPENED = {
    "pictures": (r"Image\.open\(|convert\(\"RGB|\.draft\(", {"src/vovnet/data/decoder.py"}),
    "text": (
        r"(?<!os)(?<!Image)\.open\(|(?<![\w.])open\(|\.read_text\(",
        {
            "src/vovnet/core/files.py",
            "src/vovnet/commands/plan/runs.py",  # where another program's output goes
            "src/vovnet/pipeline/snakemake_private.py",  # the same
            "src/snakemake_scheduler_plugin_gpu/run_times.py",  # which imports nothing of vovnet
            "src/snakemake_scheduler_plugin_vovnet/config_files.py",  # the same
            "workflow/environments.py",  # the same
            "workflow/release.py",  # the same
            "workflow/bench_prepare.py",  # which writes what it measures
        },
    ),
    "JSON": (
        r"json\.loads?\(|JSONDecoder\(",
        {
            "src/gpu_leases/leases.py",  # which imports nothing of vovnet
            "src/vovnet/core/files.py",
            "src/vovnet/data/formats/json_rows.py",  # a row at a time
        },
    ),
    "tables": (
        r"csv\.(reader|DictReader)|pd\.read_|pq\.(ParquetFile|read_table)",
        {
            "src/vovnet/data/formats/vlmevalkit.py",  # raw TSV
            "src/vovnet/data/formats/mmmu.py",  # raw parquet
            "src/vovnet/core/records.py",  # our own parquet
            "src/vovnet/evaluation/columns.py",  # our own CSV
            "src/snakemake_scheduler_plugin_gpu/run_times.py",  # Snakemake's, see above
        },
    ),
}
"""Kind of file -> what opens one, and the only modules that may."""


@pytest.mark.parametrize("kind", OPENED)
def test_each_kind_of_file_is_opened_in_one_way(kind: str) -> None:
    pattern, modules = OPENED[kind]
    paths = [*ROOT.glob("src/**/*.py"), *ROOT.glob("workflow/**/*.py")]
    paths = [path for path in paths if "tests" not in path.parts[len(ROOT.parts) :]]
    found = {str(path.relative_to(ROOT)) for path in paths if re.search(pattern, path.read_text())}
    assert found == modules


@pytest.mark.parametrize("pattern", LIMITS)
def test_no_file_is_too_long(pattern: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in ROOT.glob(pattern)}
    assert lengths
    assert {path: count for path, count in lengths.items() if count > LIMITS[pattern]} == {}


def test_test_files_stand_alone() -> None:
    """What several of them need lies in tests/support, so that each can be moved and cut."""
    tests = ROOT / "tests"
    names = {path.stem for path in tests.glob("*.py")}
    for path in tests.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in names, path
            elif isinstance(node, ast.Import):
                assert not names & {alias.name for alias in node.names}, path


def test_every_module_can_be_imported() -> None:
    """A type checker does not see an import of a module that is gone."""
    source = ROOT / "src"
    for path in source.glob("*/**/*.py"):
        if "tests" not in path.relative_to(source).parts and path.name != "__main__.py":
            parts = path.relative_to(source).with_suffix("").parts
            import_module(".".join(part for part in parts if part != "__init__"))

"""Outputs whose content changed after they were written are never read as if they were whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support.replays import World
from vovnet.config import Settings, merge, validate
from vovnet.core.errors import DataError
from vovnet.core.files import read_json, sha256_file, write_json, write_text
from vovnet.core.layout import Layout
from vovnet.data.sets import load_set
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.report.checks.invariants import files_are_whole
from vovnet.report.inputs import load_inputs

OBSERVED = "observations/vovnet/seed0/graded"

TRAINED = {"dataset": "training", "split": "own"}
"""What the run trains on by an override, as no other does."""

READERS: dict[str, tuple[str, Callable[[Settings, Layout], object] | None]] = {
    "data/graded/dev.jsonl": (
        "data/graded/dev.manifest.json",
        lambda settings, layout: load_set(settings, layout, "graded"),
    ),
    "data/training/own.jsonl": ("data/training/own.manifest.json", None),
    f"{OBSERVED}/signals.parquet": (
        f"{OBSERVED}/actions.manifest.json",
        lambda settings, layout: evaluate_experiment(settings, layout, "vovnet"),
    ),
    "eval/vovnet/samples.parquet": ("eval/vovnet/summary.json", hull_metrics),
    "eval/vovnet/results.csv": ("eval/vovnet/summary.json", load_inputs),
    "eval/_hull/paper/curves.csv": ("eval/_hull/paper/manifest.json", load_inputs),
    "paper/main_table.csv": ("paper/tables.manifest.json", None),
    "paper/figures/pareto.pdf": ("paper/figures/manifest.json", None),
}
"""A file -> the manifest that tells of it, and who reads it, if anybody does."""


@pytest.fixture
def own(evaluated: World, tmp_path: Path) -> tuple[Settings, Layout]:
    """A copy of the evaluated world, with manifests of all that the commands would have left."""
    settings, layout = evaluated
    shutil.copytree(layout.root, tmp_path, dirs_exist_ok=True)
    for name, (manifest, reader) in READERS.items():
        path = tmp_path / manifest
        if reader is None:
            write_text(tmp_path / name, "a line of what nobody reads again\n" * 20)
            write_json(path, {})
        facts = {"path": f"elsewhere/{Path(name).name}", "sha256": sha256_file(tmp_path / name)}
        content = read_json(path)
        write_json(path, content | {"outputs": content.get("outputs", {}) | {"own": facts}})
    runs = {"vovnet": {"data": {"train": [TRAINED]}}}
    files = {"data": {"datasets": {"training": {"files": {"own": "own.tsv"}}}}}
    settings = validate(merge(settings.model_dump(), files | {"runs": runs}), "test")
    return settings, replace(layout, root=tmp_path)


def lines_lost(content: bytes) -> bytes:
    """A text that ends early, at the end of a line."""
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: len(lines) // 2])


@pytest.mark.parametrize("name", READERS)
def test_what_is_damaged_is_named_by_its_reader_and_in_the_sanity_report(
    own: tuple[Settings, Layout], name: str
) -> None:
    settings, layout = own
    inputs = load_inputs(settings, layout)
    assert all(finding.passed for finding in files_are_whole(inputs))
    manifest, reader = READERS[name]
    path = layout.root / name
    content = path.read_bytes()
    zeroed = content[:200] + bytes(100) + content[300:]
    path.write_bytes(zeroed if path.suffix == ".parquet" else lines_lost(content))
    told = f"{path}: damaged, its content is not what {Path(manifest).name} says: "
    if reader is not None:
        with pytest.raises(DataError) as caught:
            reader(settings, layout)
        assert str(caught.value).startswith(f"{told}remove {layout.root / manifest}")
    (finding,) = [finding for finding in files_are_whole(inputs) if not finding.passed]
    assert finding.numbers.startswith(told)
    assert ("--forcerun" in finding.numbers) == ("paper/" in name)

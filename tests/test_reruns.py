"""What runs again after an edit of the source: a copy is edited, and the keys of its jobs compared.

A job runs again where its settings or its code are others; what reads its result follows.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.projects import copy_project
from support.repository import ROOT

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "tests/support/job_keys.py"
SUITE = "config/test.yaml"
Keys = dict[str, list[str]]
Edit = Callable[[Path], None]

REPORTS = {"hull_metrics", "tables", "figures", "sanity", "page", "paper_pdf"}
SUMMARIES = REPORTS | {"reliability", "ablation_table"}


def job_keys(project: Path, *configs: str) -> Keys:
    """Job -> its settings, its code, and the further views that it shows."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *(configs or (SUITE,))],
        cwd=project,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{project / 'src'}{os.pathsep}{project}"},
    )
    assert done.returncode == 0, done.stderr
    keys: Keys = json.loads(done.stdout)
    return keys


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reruns") / "project"
    copy_project(folder)
    return folder


@pytest.fixture(scope="module")
def before(project: Path) -> Keys:
    return job_keys(project)


@pytest.fixture
def edited(project: Path, tmp_path: Path) -> Path:
    """A copy of the project of its own."""
    shutil.copytree(project, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def rules(jobs: set[str]) -> set[str]:
    return {job.partition(" ")[0] for job in jobs}


def moved(before: Keys, after: Keys) -> set[str]:
    """The jobs that are new, or whose settings or code are others."""
    return {job for job, key in after.items() if before.get(job) != key}


# ---- edits -----------------------------------------------------------------------------


def write(name: str, text: str) -> Edit:
    def edit(folder: Path) -> None:
        (folder / "src/vovnet" / name).write_text(text)

    return edit


def replace(name: str, old: str, new: str) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / "src/vovnet" / name
        text = path.read_text()
        assert text.count(old) == 1, (name, old)
        path.write_text(text.replace(old, new))

    return edit


def entry(package: str, table: str, line: str) -> Edit:
    """An entry in a registry's table."""
    return replace(f"{package}/__init__.py", f"{table} = {{\n", f"{table} = {{\n    {line},\n")


def touch(name: str) -> Edit:
    """A change of a module's code that does nothing."""
    return append(name, "EDITED = 1\n")


def append(name: str, text: str) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / "src/vovnet" / name
        path.write_text(path.read_text() + text)

    return edit


REPORT_KEY = "class ReportSettings(Section):\n"
PATH = """\
    @property
    def drafts(self) -> Path:
        return self.root / "drafts"

"""
PRUNE = "from vovnet.views.reductions.prune import Prune as Thin\n"
EVALUATED = {"evaluate", "error_slices", "hull_metrics", "reliability", "ablation_table", "bench"}
NOTHING: list[Edit] = [
    # a layout path
    replace("core/layout.py", "    def raw(", f"{PATH}    def raw("),
    # an entry of the version list
    replace("pipeline/manifest.py", 'PACKAGES = ("torch"', 'PACKAGES = ("peft", "torch"'),
    # the interval of progress
    replace("core/progress.py", "LOG_INTERVAL_S = ", "LOG_INTERVAL_S = 2 * "),
    # a policy
    write("policies/mine.py", "from vovnet.policies.fixed import POLICIES\n"),
    replace("policies/__init__.py", '    "no_vision":', '    "mine": "x",\n    "no_vision":'),
    # a reduction
    write("views/reductions/thin.py", PRUNE),
    entry("views/reductions", "REDUCTIONS", '"thin": "vovnet.views.reductions.thin"'),
    # a dataset format
    write("data/formats/quiz.py", "from vovnet.data.formats.mmbench import FORMAT\n"),
    entry("data/formats", "FORMATS", '"quiz": "vovnet.data.formats.quiz"'),
    # a backbone
    write("model/new_vlm.py", "from vovnet.model.qwen3_vl import MODEL\n"),
    replace("model/families.py", "= {", '= {"new_vlm": "vovnet.model.new_vlm", '),
    # the command line
    touch("commands/steps.py"),
    # a comment
    append("training/objective.py", "# new\n"),
]
"""Edits that run nothing again, all of them in one copy."""

EDITS: dict[str, tuple[list[Edit], set[str]]] = {
    "nothing": (NOTHING, set()),
    "report key": (
        [replace("config/execution.py", REPORT_KEY, REPORT_KEY + "    subtitle: str = ''\n")],
        SUMMARIES,
    ),
    "table": ([write("report/tables/new.py", "def table(inputs):\n    pass\n")], {"tables"}),
    "figure": ([write("report/figures/new.py", "def figure(inputs):\n    pass\n")], {"figures"}),
    "objective": ([touch("training/objective.py")], {"train_stage1", "train_stage2"}),
    "scorer": ([touch("evaluation/scoring/textvqa.py")], EVALUATED | {"page"}),
    "statistic": ([touch("core/resampling.py")], EVALUATED),
    "results column": (
        [touch("evaluation/columns.py")],
        EVALUATED | REPORTS - {"paper_pdf"} | {"match"},
    ),
    "reader of one format": ([touch("data/formats/mmmu.py")], {"prepare"}),
    "further view's reduction": ([touch("views/reductions/pool.py")], {"observe_views"}),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_runs_again_what_it_is_about_and_no_more(
    edited: Path, before: Keys, name: str
) -> None:
    edits, expected = EDITS[name]
    for edit in edits:
        edit(edited)
    assert rules(moved(before, job_keys(edited))) == expected

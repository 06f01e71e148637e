"""docs/extending.md, done as it says: its code blocks are run in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from support.projects import copy_project
from support.raw_rows import picture
from support.replays import GRADED, configuration, write_world
from support.repository import ROOT

BLOCK = re.compile(r"^```(?:python|yaml) (\S+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def blocks(title: str) -> list[tuple[str, str, str]]:
    """(file, table that gets an entry or "", text) of each code block below a heading."""
    sections = dict(SECTION.findall((ROOT / "docs/extending.md").read_text(encoding="utf-8")))
    return BLOCK.findall(sections[title])


def extend(folder: Path, title: str) -> None:
    """Do in a copy of the project what a section of the page says."""
    for name, table, text in blocks(title):
        path = folder / name
        if table:
            source = path.read_text(encoding="utf-8")
            head = re.search(rf"^{table}\b.* = {{\n", source, re.MULTILINE)
            assert head is not None, (name, table)
            text = source[: head.end()] + text + source[head.end() :]
        path.write_text(text, encoding="utf-8")


def run_in(folder: Path, code: str, *arguments: object) -> str:
    """Run Python code with the source of a copy; it must end well."""
    path = os.pathsep.join([str(folder / "src"), str(folder), str(ROOT / "tests")])
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    copy_project(tmp_path / "project", project)
    return tmp_path / "project"


@pytest.mark.parametrize(
    ("title", "most"),
    [("A policy", 2), ("A reduction", 2), ("A dataset format", 2), ("A table", 1)],
)
def test_an_extension_touches_few_files(title: str, most: int) -> None:
    touched = {name for name, _, _ in blocks(title) if not name.startswith("config/")}
    assert 1 <= len(touched) <= most
    assert all(name.startswith("src/vovnet/") for name in touched)


def test_a_policy_and_a_table(copy: Path, tmp_path: Path) -> None:
    """The policy is evaluated on stored observations, and the table shows it."""
    extend(copy, "A policy")
    extend(copy, "A table")
    write_world(tmp_path / "world", {"a": GRADED}, [0], 40)
    stanza = yaml.safe_load((copy / "config/long_question.yaml").read_text())["experiments"]
    value = configuration(tmp_path / "world", ["a"], [0])
    kept = {name: value["experiments"][name] for name in ("vovnet", "always_full", "no_vision")}
    kept["long_question"] = stanza["long_question"] | {"targets": []}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(value | {"experiments": kept}), encoding="utf-8")
    code = (
        "import sys\nfrom vovnet.cli import main\n"
        "for name in sys.argv[2:]:\n"
        "    assert main(['evaluate', '--config', sys.argv[1], '--experiment', name]) == 0\n"
        "for name in ('hull_metrics', 'tables'):\n"
        "    assert main([name, '--config', sys.argv[1]]) == 0\n"
    )
    run_in(copy, code, config, *kept)
    results = pd.read_csv(tmp_path / "world/eval/long_question/results.csv")
    assert set(results["baseline_name"]) == {"long_question"}
    assert set(results["action_rate_coarse"]) == {0.0}
    table = pd.read_csv(tmp_path / "world/paper/looking.csv")
    assert "Long questions" in set(table["title"])
    assert table["look_rate"].between(0, 1).all()


def test_a_reduction(copy: Path, world: Path, tmp_path: Path) -> None:
    """A trained model is observed under the new view; fewer tokens enter it, the middle ones."""
    extend(copy, "A reduction")
    (tmp_path / "data").symlink_to(world / "data", target_is_directory=True)
    code = (
        "import sys, torch\nfrom pathlib import Path\n"
        "from support.models import save_stage2\nfrom support.worlds import settings_of\n"
        "from vovnet.config import yaml_text\nfrom vovnet.core.layout import Layout\n"
        "from vovnet.cli import main\nfrom vovnet.views import parse_view\n"
        "from vovnet.views.reductions.base import ImageTokens\n"
        "view = parse_view('center-0.250')\n"
        "assert view.name == 'full+center-0.25', view.name\n"
        "(center,) = view.reductions\n"
        "left = center.reduce(ImageTokens(torch.ones(16, 4), (4, 4)))\n"
        "assert left.anchors_G.tolist() == [5, 6, 9, 10], left.anchors_G\n"
        "layout = Layout(Path(sys.argv[1]))\n"
        "settings = settings_of(layout, {'eval': {'num_shards': 1}})\n"
        "save_stage2(settings, layout)\n"
        "config = layout.root / 'config.yaml'\n"
        "config.write_text(yaml_text(settings.model_dump(mode='json')))\n"
        "options = ['--config', str(config), '--run', 'vovnet', '--seed', '0',\n"
        "           '--dataset', 'synth_mmbench', '--views', 'full', view.name]\n"
        "assert main(['observe', *options]) == 0\n"
        "assert main(['gather', *options]) == 0\n"
    )
    run_in(copy, code, tmp_path)
    folder = tmp_path / "observations/vovnet/seed0/synth_mmbench"
    full, middle = (
        pd.read_parquet(folder / f"{name}.parquet")["vision_tokens"]
        for name in ("full", "full+center-0.25")
    )
    assert (middle < full).all()


def test_a_dataset_format(copy: Path, tmp_path: Path) -> None:
    extend(copy, "A dataset format")
    layer = yaml.safe_load((copy / "config/quiz.yaml").read_text())
    raw = copy / layer["data"]["datasets"]["quiz"]["root"]
    raw.mkdir()
    (raw / "a.png").write_bytes(picture())
    row = {"id": 1, "question": "What is this?", "reply": "A picture.", "picture": "a.png"}
    (raw / "test.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    code = (
        "import sys\nfrom vovnet.cli import main\n"
        "options = ['--config', sys.argv[1], '--dataset', 'quiz', '--split', 'test']\n"
        "assert main(['prepare', *options]) == 0\n"
    )
    run_in(copy, code, copy / "config/quiz.yaml")
    sample = json.loads((copy / "results/data/quiz/test.jsonl").read_text())
    assert (sample["question"], sample["answer_text"]) == ("What is this?", "A picture.")

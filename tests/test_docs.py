"""The pages under docs/: their generated parts, their site, and that every setting is described."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.repository import ROOT
from workflow.docs import DOCS, PART, PARTS, current
from workflow.settings_reference import readers, sections, settings_of

PAGES = sorted(path.name for path in DOCS.glob("*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_what_is_generated_is_current(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert current(text) == text, "run `make docs`"
    assert text.count("<!-- generated: ") == len(PART.findall(text)), "a part has no end"


def test_every_part_stands_in_a_page() -> None:
    pages = [(DOCS / name).read_text(encoding="utf-8") for name in PAGES]
    assert {part[1] for text in pages for part in PART.findall(text)} == set(PARTS)


def test_every_setting_has_a_description() -> None:
    """The reference of settings would tell nothing of one without."""
    for title, _, part in sections():
        for key, item in settings_of(part).items():
            assert item.get("description"), f"{title}: {key} needs a description"


def test_the_reference_knows_who_reads_a_setting() -> None:
    read_by = readers()
    assert read_by["training.head_learning_rate"] >= {"train"}
    assert read_by["eval.bootstrap_samples"] >= {"evaluate"}
    assert "train" not in read_by["eval.bootstrap_samples"]
    assert "observe" not in read_by["training.head_learning_rate"]
    assert read_by["policy.lambda_unit"] >= {"train", "evaluate"}, (
        "left out where it is the default"
    )
    assert "resources.train.mem_mb" not in read_by


def test_the_site_is_built_without_warnings(tmp_path: Path) -> None:
    """Links and their anchors lead somewhere, and what is a list or a table looks like one."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    for page in tmp_path.rglob("*.html"):
        text = re.sub(r"<pre>.*?</pre>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert re.findall(r"^(?:- |\| ).*", text, re.MULTILINE) == [], page

"""The pages under docs/: their generated parts, their site, and that every setting is described."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from support.repository import ROOT
from vovnet import cli
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


PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]


def fenced(page: Path) -> list[tuple[str, str]]:
    """(language, text) of a page's code blocks, but for those that name a file (test_extending)."""
    found = re.findall(r"^```(\w*)([^\n]*)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    return [(language, text) for language, file, text in found if not file]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_commands_that_pages_show_exist(page: Path) -> None:
    """With the flags that are shown; what is shown as YAML or Python can be read as such."""
    for language, text in fenced(page):
        if language == "yaml":
            yaml.safe_load(text)
        if language == "python" and "rule " not in text:
            compile(text, page.name, "exec")
        for line in text.replace("\\\n", " ").splitlines():
            call = re.match(r"(?:\w+=\S+ )*vovnet ([a-z]\w*)([^#|]*?)(?: -- .*|#.*|\|.*)?$", line)
            if call is None:
                continue
            module, _ = cli.COMMANDS[call[1]]
            parser = argparse.ArgumentParser()
            getattr(import_module(f"vovnet.commands.{module}"), call[1]).add_arguments(parser)
            for flag in re.findall(r"(?<!\S)\[?(--\w+)", call[2]):
                assert flag in parser._option_string_actions, f"{line}: no {flag}"


def test_the_site_is_built_without_warnings(tmp_path: Path) -> None:
    """Links and their anchors lead somewhere, and what is a list or a table looks like one."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    for page in tmp_path.rglob("*.html"):
        text = re.sub(r"<pre>.*?</pre>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert re.findall(r"^(?:- |\| ).*", text, re.MULTILINE) == [], page

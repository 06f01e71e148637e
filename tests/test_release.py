"""What makes a release: one version, the licence in the package, notes from the changelog."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import vovnet
from support.repository import ROOT
from workflow import release


def test_the_changelog_begins_with_the_version() -> None:
    assert release.version() == vovnet.__version__
    assert release.newest_section()[0] == vovnet.__version__
    for name in ("pyproject.toml", "CITATION.cff"):
        assert vovnet.__version__ not in (ROOT / name).read_text(), "it stands in one place alone"


@pytest.mark.parametrize(
    ("tag", "section", "fault"),
    [
        ("v1.2.0", ("1.2.0", "2026-12-01"), None),
        ("v1.2.1", ("1.2.0", "2026-12-01"), "expected v1.2.0, the version of src/vovnet"),
        ("v1.2.0", ("1.1.0", "2026-12-01"), "expected a first section of 1.2.0"),
        ("v1.2.0", ("1.2.0", "unreleased"), "expected the date of 1.2.0"),
    ],
)
def test_a_tag_is_a_release_only_with_its_section(
    monkeypatch: pytest.MonkeyPatch, tag: str, section: tuple[str, str], fault: str | None
) -> None:
    monkeypatch.setattr(release, "version", lambda: "1.2.0")
    monkeypatch.setattr(release, "newest_section", lambda: (*section, "- It works.\n"))
    found = release.fault(tag)
    assert found is None if fault is None else fault in str(found)


def test_the_package_has_version_and_licence(tmp_path: Path) -> None:
    """The metadata of the wheel, made as pip makes it, without the package's weights."""
    package, made = tmp_path / "src/vovnet", tmp_path / "made"
    for folder in (package, tmp_path / "envs", made):
        folder.mkdir(parents=True)
    for name in ("pyproject.toml", "LICENSE", "README.md", "envs/requirements.in", "envs/own.in"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "src/vovnet/__init__.py", package)
    code = "import setuptools.build_meta as build; build.prepare_metadata_for_build_wheel('made')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    (info,) = made.glob("vovnet-*.dist-info")
    lines = (info / "METADATA").read_text().splitlines()
    assert {"License-Expression: MIT", f"Version: {vovnet.__version__}"} <= set(lines)
    assert (info / "licenses/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_projects_of_their_own_are_needed_by_name_and_have_the_licence() -> None:
    projects = sorted((ROOT / "src").glob("*/pyproject.toml"))
    names = {tomllib.loads(path.read_text())["project"]["name"] for path in projects}
    needed = (ROOT / "envs/own.in").read_text().splitlines()[1:]
    assert names == set(needed)
    for path in projects:
        assert (path.parent / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
        assert (path.parent / "README.md").exists()


def test_files_for_services_are_as_those_expect() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] == "MIT"
    steps = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["test"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]
    for hook in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]:
        assert Path(ROOT, hook["entry"].split()[0]).exists(), hook["id"]
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}

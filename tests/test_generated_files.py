"""Files that are generated from others and stored: each is current."""

from __future__ import annotations

import re

import yaml

from support.repository import ROOT
from workflow.environments import environment_files, pinned
from workflow.schema import SCHEMA_PATH, schema_text


def test_the_stored_schema_is_the_settings() -> None:
    assert SCHEMA_PATH.read_text() == schema_text(), "run `make schema`"


def test_conda_and_container_have_the_pinned_versions() -> None:
    for path, text in environment_files().items():
        assert path.read_text() == text, f"{path.name}: run `make environments`"
    conda = yaml.safe_load((ROOT / "envs/environment.yaml").read_text())["dependencies"]
    assert conda[-1]["pip"] == pinned()
    container = (ROOT / "envs/Dockerfile").read_text()
    assert f"FROM python:{conda[0].removeprefix('python=')}-slim@sha256:" in container
    assert container.rindex("\nUSER vovnet\n") > container.rindex("\nRUN ")
    assert "--requirement /opt/vovnet/envs/requirements.txt" in container
    for line in re.findall(r"^COPY (.*) \S+$", container, re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split())


def test_every_requirement_is_pinned() -> None:
    names = set((ROOT / "envs/requirements.in").read_text().split())
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "envs/requirements.txt").read_text(), re.M)
    )
    assert names <= set(pinned)

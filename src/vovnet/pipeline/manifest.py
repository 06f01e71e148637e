"""Manifests: from what an output was made."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vovnet import __version__
from vovnet.config import Settings
from vovnet.core.files import sha256_bytes, sha256_file, sha256_json, write_json

PACKAGES = ("torch", "transformers", "accelerate", "numpy", "pandas", "pyarrow")


@cache
def source_digest() -> str:
    """Hash over every module of the package."""
    root = Path(__file__).parents[1]
    parts = [
        path.relative_to(root).as_posix().encode() + path.read_bytes()
        for path in sorted(root.rglob("*.py"))
    ]
    return sha256_bytes(b"\0".join(parts))


@cache
def git_commit() -> str | None:
    """The commit of the source tree, with "+dirty" where it has changes; None outside git."""
    folder = Path(__file__).parents[1]
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        )
        status = subprocess.run(
            ["git", "status", "--porcelain", "--", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+dirty" if status.stdout.strip() else "")


def package_versions() -> dict[str, str]:
    versions = {"vovnet": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def write_manifest(
    path: Path,
    *,
    step: str,
    settings: Settings,
    inputs: Mapping[str, Path] | None = None,
    outputs: Mapping[str, Path] | None = None,
    **facts: Any,
) -> None:
    """Write the manifest of a step; call it last, so that its existence means completion.

    `inputs` and `outputs` map a name to a file, stored with its SHA-256. `facts` are further
    JSON values such as seed, device or counts.
    """
    manifest = {
        "step": step,
        "git_commit": git_commit(),
        "source_digest": source_digest(),
        "config_hash": sha256_json(settings.model_dump(mode="json")),
        "versions": package_versions(),
        "inputs": _hashed(inputs),
        "outputs": _hashed(outputs),
        **facts,
    }
    write_json(path, manifest)


def _hashed(files: Mapping[str, Path] | None) -> dict[str, dict[str, str]]:
    return {
        name: {"path": str(path), "sha256": sha256_file(path)}
        for name, path in (files or {}).items()
    }

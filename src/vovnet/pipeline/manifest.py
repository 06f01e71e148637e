"""Manifests: from what an output was made."""

import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vovnet import __version__
from vovnet.config import Settings
from vovnet.core.files import (
    json_ready,
    json_text,
    sha256_bytes,
    sha256_file,
    sha256_json,
    write_text,
)
from vovnet.core.redaction import hide_known

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "transformers", "accelerate", "numpy", "pandas", "pyarrow", "scikit-learn")


@cache
def source_digest() -> str:
    """Hash over every module of the package."""
    parts = [
        path.relative_to(ROOT).as_posix().encode() + path.read_bytes()
        for path in sorted(ROOT.rglob("*.py"))
    ]
    return sha256_bytes(b"\0".join(parts))


@cache
def git_commit() -> str | None:
    """The commit of the source tree, with "+dirty" where it has changes; None outside git."""
    try:
        head, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+dirty" if changes else "")


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def package_versions() -> dict[str, str]:
    versions = {"vovnet": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def config_hash(settings: Settings) -> str:
    """The hash of all settings by value."""
    return sha256_json(json_ready(settings.model_dump(mode="json")))


def write_manifest(
    path: Path,
    *,
    step: str,
    settings: Settings,
    inputs: Mapping[str, Path] = MappingProxyType({}),
    outputs: Mapping[str, Path] = MappingProxyType({}),
    **facts: Any,
) -> None:
    """Write the manifest of a step; call it last, so that its existence means completion.

    `inputs` and `outputs` map a name to a file, stored with its SHA-256. `facts` are further
    JSON values such as seed, device or counts.
    """
    hashed = {
        kind: {
            name: {"path": str(path), "sha256": sha256_file(path)} for name, path in files.items()
        }
        for kind, files in (("inputs", inputs), ("outputs", outputs))
    }
    manifest = {
        "step": step,
        "git_commit": git_commit(),
        "source_digest": source_digest(),
        "config_hash": config_hash(settings),
        "versions": package_versions(),
        **hashed,
        **_without_secrets(facts),
    }
    write_text(path, json_text(manifest))


def _without_secrets(value: Any) -> Any:
    """The value with its texts redacted; names of facts stay, and so do paths and hashes of files.

    JSON escapes some characters of a secret, so that its text would no longer show it.
    """
    if isinstance(value, Mapping):
        return {name: _without_secrets(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    return hide_known(value) if isinstance(value, str) else value

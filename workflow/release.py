"""The notes of a release: the changelog's section of its version.

python workflow/release.py v0.1.0
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def version() -> str:
    """The version of the package, from its one place."""
    text = (ROOT / "src/vovnet/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found
    return found[1]


def newest_section() -> tuple[str, str, str]:
    """(version, when, text) of the changelog's first section."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(r"^## (\S+) \((.+)\)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[1], found[2], found[3]


def fault(tag: str) -> str | None:
    """Why the tag is no release."""
    named, when, _ = newest_section()
    if tag != f"v{version()}":
        return f"{tag}: expected v{version()}, the version of src/vovnet/__init__.py"
    if named != version():
        return f"CHANGELOG.md: expected a first section of {version()}, it is of {named}"
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", when):
        return f"CHANGELOG.md: expected the date of {named} as in 2026-12-01, got {when!r}"
    return None


if __name__ == "__main__":
    if (refused := fault(sys.argv[1])) is not None:
        sys.exit(refused)
    print(newest_section()[2].strip())

"""Reference data that is not part of the repository: real dataset rows, conformance vectors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared(name: str) -> Path:
    """A file or folder below ../shared (or $VOVNET_SHARED); skips the test where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    path = Path(os.environ.get("VOVNET_SHARED", folder)) / name
    if not path.exists():
        pytest.skip(f"{path} is absent (set VOVNET_SHARED to the folder that holds {name})")
    return path

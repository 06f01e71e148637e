"""Where the repository lies, and reference data beside it: real dataset rows, scoring vectors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY_MODEL = ROOT / "src/vovnet/assets/tiny-qwen3-vl"


def shared(name: str) -> Path:
    """A file or folder below ../shared (or $VOVNET_SHARED); skips the test where it is absent."""
    path = Path(os.environ.get("VOVNET_SHARED", ROOT.parent / "shared")) / name
    if not path.exists():
        pytest.skip(f"{path} is absent (set VOVNET_SHARED to the folder that holds {name})")
    return path

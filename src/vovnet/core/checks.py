"""What settings and arguments have in common that is refused: repeated values, unusable paths."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def repeated(values: Sequence[Any]) -> Any:
    """The first value that occurs twice, None where each occurs once."""
    return next((value for place, value in enumerate(values) if value in values[:place]), None)


def expanded_path(text: str) -> str:
    """A path of the user's, whose leading `~` is a home folder as in a shell.

    What no file can be called, or a home folder that there is not, is a ValueError.
    """
    if any(ord(character) < 32 for character in text):
        raise ValueError("expected a path without control characters")
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise ValueError("there is no such home folder; './~...' is a folder here") from None


def folder_fault(folder: Path) -> str | None:
    """Why nothing can be written in a folder, which need not exist yet; None where it can."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        return f"{nearest} is a file, expected a folder"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"nothing can be written in {nearest} (no permission)"
    return None

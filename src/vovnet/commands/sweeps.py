"""Argument types of the commands that sweep reduced views."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def ratio(text: str) -> float:
    """A share above 0 and up to 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected numbers above 0 and up to 1, got {text!r}")
    return value


def whole(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected whole numbers from 1, got {text!r}")
    return int(text)


def listed(item: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Items separated by commas, as in "1,2,4"."""

    def items(text: str) -> list[T]:
        return [item(part.strip()) for part in text.split(",")]

    return items


def switch(text: str) -> bool:
    """`true` or `false`."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() == "true"

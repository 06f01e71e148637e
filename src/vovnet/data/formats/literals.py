"""Lists that raw files hold as the text of a Python list."""

from __future__ import annotations

import ast


def text_list(text: str) -> list[str] | None:
    """The texts of a Python list literal; None if `text` is no list of texts.

    Only literals are read, nothing is evaluated.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return value

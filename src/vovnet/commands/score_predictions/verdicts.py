"""Official verdicts: which value the benchmark's own code gives a row, or a whole question."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.core.errors import DataError
from vovnet.data.formats.mmbench import CIRCULAR_STEP
from vovnet.data.formats.source import Row, whole_number

ROW_KEYS = ("id", "question_id", "index")
OF_QUESTIONS = ("circular_hit", "hit")
"""Verdicts on whole questions, that every circular pass is right, unless each pass has its own."""

OF_ROWS = ("correct", "if_right", "judge", "score")
PARSED = ("parsed", "pred_indexs", "parsed_pred", "normalised_prediction")
"""What the official code read, where it is told."""

WORDS = {"correct": 1.0, "true": 1.0, "wrong": 0.0, "false": 0.0}


@dataclass(frozen=True)
class Verdict:
    """`parsed` is what was read, None if it is not told; `drawn` says so of a random choice."""

    value: float
    parsed: str | None
    drawn: bool | None


@dataclass(frozen=True)
class VerdictFile:
    """The verdicts of a file, by the row's id or by the question's."""

    path: Path
    by_question: bool
    verdicts: dict[str, Verdict]


def is_own_output(values: Mapping[str, Any]) -> bool:
    """Whether this command wrote the row, whose verdict is ours and not official."""
    return values.keys() >= {"set", "parse_fallback"}


def holds_verdicts(values: Mapping[str, Any]) -> bool:
    """Whether a row holds an official verdict and says on what."""
    if is_own_output(values):
        return False
    named = any(key in values for key in (*ROW_KEYS, "g_index"))
    return named and any(key in values for key in (*OF_QUESTIONS, *OF_ROWS))


def read_verdicts(path: Path, rows: list[Row]) -> VerdictFile:
    """The verdicts of a file, each finite and with an id of its own."""
    if not rows or not holds_verdicts(rows[0].values):
        raise DataError(
            f"{path}: expected rows with an id ({', '.join(ROW_KEYS)} or g_index) and a verdict"
            f" ({', '.join((*OF_ROWS, *OF_QUESTIONS))}), and not what this command wrote"
        )
    by_question = any(key in rows[0].values for key in OF_QUESTIONS)
    by_question = by_question and not any(_is_later_pass(row) for row in rows)
    verdicts: dict[str, Verdict] = {}
    for row in rows:
        name = _name(row, by_question)
        if name in verdicts:
            raise DataError(f"{path}, row {row.number}: a second verdict on {name!r}, expected one")
        verdicts[name] = verdict(row)
    return VerdictFile(path, by_question, verdicts)


def _is_later_pass(row: Row) -> bool:
    """Whether a verdict is on a pass of a question that is not its first."""
    index = whole_number(str(row.values.get("index", "")))
    return index is not None and index >= CIRCULAR_STEP


def verdict(row: Row) -> Verdict:
    """The verdict that a row holds."""
    column = next((key for key in (*OF_QUESTIONS, *OF_ROWS) if key in row.values), None)
    if column is None:
        raise row.error(OF_ROWS[0], "is missing")
    text = str(row.values[column]).strip().lower()
    try:
        value = WORDS[text] if text in WORDS else float(text)
    except ValueError:
        raise row.error(column, f"expected a verdict, got {text[:80]!r}") from None
    if not math.isfinite(value):
        raise row.error(column, f"expected a finite verdict, got {text!r}")
    parsed = next((row.values[key] for key in PARSED if key in row.values), None)
    drawn = row.values.get("random_fallback")
    return Verdict(
        value=value,
        parsed=parsed if isinstance(parsed, str) else None,
        drawn=drawn if isinstance(drawn, bool) else None,
    )


def _name(row: Row, by_question: bool) -> str:
    keys = ("g_index", *ROW_KEYS) if by_question else ROW_KEYS
    key = next((key for key in keys if key in row.values), None)
    if key is None:
        raise row.error(ROW_KEYS[0], "is missing")
    name = row.identifier(key)
    number = whole_number(name) if by_question or key == "index" else None
    if number is None:
        return name
    return str(number % CIRCULAR_STEP if by_question and key != "g_index" else number)

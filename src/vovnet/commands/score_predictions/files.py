"""The files of a folder, told apart by content: predictions, gold answers, official verdicts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vovnet.commands.score_predictions.predictions import (
    LAYOUTS,
    Answer,
    Gold,
    Layout,
    subject_of,
)
from vovnet.commands.score_predictions.verdicts import VerdictFile, holds_verdicts, read_verdicts
from vovnet.core.errors import DataError
from vovnet.core.files import read_json
from vovnet.data.formats.json_rows import JSON_SUFFIXES, iter_rows
from vovnet.data.formats.source import Row
from vovnet.data.formats.vlmevalkit import TABLE_SUFFIXES, read_table

SUFFIXES = (*JSON_SUFFIXES, *TABLE_SUFFIXES)
UNKNOWN = "its rows are none of the known ones"


@dataclass(frozen=True)
class PredictionSet:
    """The answers of one model to one benchmark, in one file or in a file per subject."""

    name: str
    layout: Layout
    answers: list[Answer]
    num_files: int


@dataclass
class Found:
    """What a folder holds; `passed_over` are other files, with the reason."""

    sets: list[PredictionSet] = field(default_factory=list)
    verdicts: list[VerdictFile] = field(default_factory=list)
    passed_over: list[tuple[Path, str]] = field(default_factory=list)


def read_folder(folder: Path, gold_files: list[Path], verdict_files: list[Path]) -> Found:
    """Read the prediction files below a folder (or one file), and what is given beside them."""
    if not folder.exists():
        raise DataError(f"{folder}: no such file or folder")
    found, gold = Found(), Gold()
    rows_of: dict[str, tuple[Layout, list[list[Row]]]] = {}
    given = {path.resolve() for path in (*gold_files, *verdict_files)}
    listed = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    for path in (path for path in listed if path.is_file() and path.resolve() not in given):
        if path.suffix not in SUFFIXES:
            found.passed_over.append((path, f"expected a name with one of {', '.join(SUFFIXES)}"))
            continue
        rows = _rows(path)
        if _add_gold(gold, path, rows):
            continue
        layout = _layout(rows)
        if layout is not None:
            name = _set_name(folder, path, rows)
            rows_of.setdefault(name, (layout, []))[1].append(rows)
        elif rows and holds_verdicts(rows[0].values):
            found.verdicts.append(read_verdicts(path, rows))
        else:
            found.passed_over.append((path, UNKNOWN))
    for path in gold_files:
        if not _add_gold(gold, path, _rows(path)):
            raise DataError(f"{path}: expected the gold answers of MMMU, TextVQA or MMBench")
    for path in verdict_files:
        found.verdicts.append(read_verdicts(path, _rows(path)))
    for name, (layout, files) in sorted(rows_of.items()):
        answers = [answer for rows in files for answer in layout.read(rows, gold)]
        if not answers:
            raise DataError(f"{name}: none of its rows is among the gold answers")
        found.sets.append(PredictionSet(name, layout, answers, len(files)))
    if not found.sets:
        raise DataError(f"{folder}: holds no prediction file that is known")
    return found


def _rows(path: Path) -> list[Row]:
    """The rows of a file. An object becomes a row for each key, its `id`."""
    if path.suffix in TABLE_SUFFIXES:
        return list(read_table(path, ()))
    if path.suffix == ".jsonl":
        return list(iter_rows(path))
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
    if isinstance(content, dict):
        content = [_keyed(name, value) for name, value in content.items()]
    values = content if isinstance(content, list) else []
    if not any(isinstance(value, dict) for value in values):
        return []
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise DataError(f"{path}, row {number}: expected an object")
    return [Row(path, number, value) for number, value in enumerate(values, start=1)]


def _keyed(name: str, value: Any) -> dict[str, Any]:
    """An entry of an object as a row: its own keys, or its text as the response."""
    if isinstance(value, dict):
        return {"id": name, **value}
    return {"id": name, "response": value} if isinstance(value, str) else {}


def _layout(rows: list[Row]) -> Layout | None:
    if not rows:
        return None
    values = rows[0].values
    if "hit" in values:  # VLMEvalKit's verdicts on questions, beside a pass of each
        return None
    return next((layout for layout in LAYOUTS if layout.recognise(values)), None)


def _set_name(folder: Path, path: Path, rows: list[Row]) -> str:
    """The file below the folder; files in the folders of their subjects are one set."""
    parts = list(path.relative_to(folder.parent).parts)
    if len(parts) > 1 and parts[-2] == subject_of(str(rows[0].values.get("id", ""))):
        parts[-2] = "*"
    return "/".join(parts)


def _add_gold(gold: Gold, path: Path, rows: list[Row]) -> bool:
    """Take up a file of gold answers; False if it is none."""
    first = rows[0].values if rows else {}
    if first.keys() >= {"id", "ground_truth"}:
        gold.mmmu.update({row.text("id"): row.values for row in rows})
    elif first.keys() >= {"question_id", "image_id", "question", "answers"} and not _layout(rows):
        for row in rows:
            gold.textvqa[row.identifier("question_id")] = row
            key = (row.identifier("image_id"), row.text("question").lower())
            gold.textvqa_questions[key] = row
    elif first.keys() >= {"index", "A", "answer"} and first.keys().isdisjoint(
        {"prediction", "hit"}
    ):
        gold.mmbench.update(dict(_by_index(rows)))
    else:
        return False
    return True


def _by_index(rows: list[Row]) -> Iterator[tuple[int, Row]]:
    for row in rows:
        name = row.identifier("index")
        if not name.isdecimal():
            raise row.error("index", f"expected a whole number, got {name!r}")
        yield int(name), row

"""The files of a folder, told apart by content: predictions, gold answers, official verdicts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vovnet.commands.score_predictions.predictions import (
    LAYOUTS,
    Answer,
    ForeignRowsError,
    Gold,
    Layout,
    subject_of,
)
from vovnet.commands.score_predictions.tables import as_pandas_reads, is_table_row
from vovnet.commands.score_predictions.verdicts import (
    VerdictFile,
    holds_verdicts,
    is_own_output,
    read_verdicts,
)
from vovnet.core.errors import DataError, error_line
from vovnet.core.files import read_json
from vovnet.data.formats.json_rows import JSON_SUFFIXES, iter_rows
from vovnet.data.formats.source import Row
from vovnet.data.formats.vlmevalkit import TABLE_SUFFIXES, is_table, read_table

SUFFIXES = (*JSON_SUFFIXES, *TABLE_SUFFIXES)
TOTALS, ROWS = "totals.json", "rows.jsonl"
"""What this command writes."""

OTHER_NAME = f"expected a name with one of {', '.join(SUFFIXES)}"
UNKNOWN = "its rows are none of the known ones"
OWN = "its rows are what this command wrote"


@dataclass(frozen=True)
class PredictionSet:
    """The answers of one model to one benchmark, in one file or in a file per subject.

    `left_out` counts rows that are not scored; the layout says why.
    """

    name: str
    layout: Layout
    answers: list[Answer]
    num_files: int
    left_out: int


@dataclass
class Found:
    """What a folder holds; `passed_over` are other files, with the reason."""

    sets: list[PredictionSet] = field(default_factory=list)
    verdicts: list[VerdictFile] = field(default_factory=list)
    passed_over: list[tuple[Path, str]] = field(default_factory=list)

    def pass_over(self, folder: Path, path: Path, error: Exception) -> None:
        """Note what was wrong with a file, unless it is the one that the user named."""
        reason = error_line(error)
        if path == folder or reason is None:
            raise error
        self.passed_over.append((path, reason.removeprefix(str(path)).lstrip(":, ")))

    @property
    def fault(self) -> str:
        """One of the files passed over with its reason, by preference one that has an error."""
        usual = (OTHER_NAME, UNKNOWN, OWN)
        others = sorted(self.passed_over, key=lambda item: item[1] in usual)
        return next((f" (passed over: {path}, {reason})" for path, reason in others), "")


def read_folder(
    folder: Path, gold_files: list[Path], verdict_files: list[Path], output: Path | None = None
) -> Found:
    """Read the prediction files below a folder (or one file), and what is given beside them.

    What this command writes to the folder `output` is left out. A file that was found in the folder
    and cannot be read, or answers another benchmark, is passed over; a file that was named is an
    error then, and so are predictions and verdicts that were read and are wrong.
    """
    if not folder.exists():
        raise DataError(f"{folder}: no such file or folder")
    found, gold = Found(), Gold()
    rows_of: dict[str, tuple[Layout, list[list[Row]]]] = {}
    given = {path.resolve() for path in (*gold_files, *verdict_files)}
    given |= {(output / name).resolve() for name in (TOTALS, ROWS)} if output else set()
    listed = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    for path in (path for path in listed if path.is_file() and path.resolve() not in given):
        if path.suffix.lower() not in SUFFIXES:
            found.passed_over.append((path, OTHER_NAME))
            continue
        try:
            rows = _rows(path)
            is_gold = _add_gold(gold, path, rows)
        except (DataError, OSError) as error:
            found.pass_over(folder, path, error)
            continue
        if is_gold:
            continue
        layout = _layout(rows)
        if layout is not None:
            name = _set_name(folder, path, rows)
            rows_of.setdefault(name, (layout, []))[1].append(rows)
        elif rows and holds_verdicts(rows[0].values):
            found.verdicts.append(read_verdicts(path, rows))
        else:
            own = bool(rows) and is_own_output(rows[0].values)
            found.passed_over.append((path, OWN if own else UNKNOWN))
    for path in gold_files:
        if not _add_gold(gold, path, _rows(path)):
            raise DataError(f"{path}: expected the gold answers of MMMU, TextVQA or MMBench")
    for path in verdict_files:
        found.verdicts.append(read_verdicts(path, _rows(path)))
    for name, (layout, files) in sorted(rows_of.items()):
        try:
            found.sets.append(_read_set(name, layout, files, gold))
        except ForeignRowsError as error:
            found.pass_over(folder, files[0][0].path, error)
    found.passed_over.sort()
    if not found.sets:
        raise DataError(f"{folder}: holds no prediction file that is known{found.fault}")
    return found


def _read_set(name: str, layout: Layout, files: list[list[Row]], gold: Gold) -> PredictionSet:
    """The answers of a set, of which no two answer the same."""
    answers = [answer for rows in files for answer in layout.read(rows, gold)]
    if not answers:
        raise DataError(f"{name}: none of its rows is among the gold answers")
    firsts: dict[str, Row] = {}
    for answer in answers:
        row, first = answer.row, firsts.setdefault(answer.sample.id, answer.row)
        if first is not row:
            raise DataError(
                f"{row.path}, row {row.number}: a second answer to {answer.sample.id!r}, after"
                f" {first.path}, row {first.number}; expected one"
            )
    left_out = sum(map(len, files)) - len(answers)
    return PredictionSet(name, layout, answers, len(files), left_out)


def _rows(path: Path) -> list[Row]:
    """The rows of a file; those of VLMEvalKit's tables have the values that it sees in them."""
    rows = list(read_table(path, ())) if is_table(path) else _json_rows(path)
    return as_pandas_reads(path, rows) if rows and is_table_row(rows[0].values) else rows


def _json_rows(path: Path) -> list[Row]:
    """The rows of a JSON file. An object becomes a row for each key, its `id`."""
    if path.suffix.lower() == ".jsonl":
        return list(iter_rows(path))
    try:
        content = read_json(path)
    except DataError:
        if (rows := _json_lines(path)) is None:
            raise
        return rows
    if isinstance(content, dict) and _layout([Row(path, 1, content)]):
        content = [content]  # JSON lines with one line
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


def _json_lines(path: Path) -> list[Row] | None:
    """The rows of JSON lines whose file is called `.json`; None if it holds none."""
    try:
        return list(iter_rows(path))
    except DataError:
        return None


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
    name = folder.resolve().name if folder.is_dir() else folder.name
    parts = [name, *path.relative_to(folder).parts]
    if len(parts) > 1 and parts[-2] == subject_of(str(rows[0].values.get("id", ""))):
        parts[-2] = "*"
    return "/".join(parts)


def _add_gold(gold: Gold, path: Path, rows: list[Row]) -> bool:
    """Take up a file of gold answers, all of it or nothing; False if it is none."""
    first = rows[0].values if rows else {}
    if first.keys() >= {"id", "ground_truth"}:
        if "response" in first or holds_verdicts(first):
            return False
        for name, row in [(row.text("id"), row) for row in rows]:
            gold.mmmu.add(name, row)
    elif first.keys() >= {"question_id", "image_id", "question", "answers"} and not _layout(rows):
        for name, key, row in [(row.identifier("question_id"), _asked(row), row) for row in rows]:
            gold.textvqa.add(name, row)
            gold.textvqa_questions.setdefault(key, {})[name] = row
    elif first.keys() >= {"index", "A", "answer"} and first.keys().isdisjoint(
        {"prediction", "hit"}
    ):
        for index, row in [(row.whole_number("index"), row) for row in rows]:
            gold.mmbench.add(str(index), row)
    else:
        return False
    return True


def _asked(row: Row) -> tuple[str, str]:
    return row.identifier("image_id"), row.text("question").lower()

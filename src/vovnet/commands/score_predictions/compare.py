"""Our verdicts beside official ones: every row on which they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.commands.score_predictions.verdicts import Verdict, VerdictFile, verdict
from vovnet.core.errors import DataError

if TYPE_CHECKING:
    from vovnet.commands.score_predictions.predictions import Answer
    from vovnet.commands.score_predictions.totals import Scored
    from vovnet.evaluation.scoring.base import Score

TOLERANCE = 1e-9
"""Of two means over ten people, which may be added up in another order."""


@dataclass(frozen=True)
class Report:
    """What is printed of a comparison, and what `totals.json` tells of it."""

    lines: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def matched(results: Sequence[Scored], files: Sequence[VerdictFile]) -> dict[str, VerdictFile]:
    """The verdicts for each set, by its name.

    A file belongs to the set that has its ids. Where several have, responses go before letters
    that were read, and then the file's name must begin with that of the set's file or folder.
    """
    found: dict[str, VerdictFile] = {}
    for file in files:
        having = [
            result for result in results if not file.verdicts.keys().isdisjoint(_ids(result, file))
        ]
        responses = [result for result in having if not result.given.answers[0].is_choice]
        having = responses or having
        if len(having) > 1:
            having = [result for result in having if _named_alike(result.name, file.path)]
        if len(having) != 1:
            names = ", ".join(result.name for result in results)
            raise DataError(
                f"{file.path}: expected verdicts on the rows of one set; name the file after it"
                f" (the sets are {names})"
            )
        if having[0].name in found:
            raise DataError(f"{file.path}: {having[0].name} has other verdicts already")
        found[having[0].name] = file
    return found


def _named_alike(name: str, path: Path) -> bool:
    parts = [Path(part).stem if part == name.split("/")[-1] else part for part in name.split("/")]
    return any(path.name.startswith(part) for part in parts[1:] if part != "*")


def _ids(result: Scored, file: VerdictFile) -> set[str]:
    answers = result.given.answers
    return {answer.question if file.by_question else answer.sample.id for answer in answers}


def report(result: Scored, file: VerdictFile | None) -> Report:
    """Compare a set with the official verdicts on it: of a file, or those that its rows hold."""
    if file is not None and file.by_question:
        return _report_on_questions(result, file)
    official: dict[str, Verdict] = file.verdicts if file else {}
    lines: list[str] = []
    compared = drawn = 0
    for answer, score in result.pairs:
        told = official.get(answer.sample.id)
        if told is None and file is None and answer.own is not None:
            told = verdict(answer.own)
        if told is None:
            continue
        compared += 1
        if score.parse_fallback and result.guesses and told.drawn is not False:
            drawn += 1
        elif _differ(answer, score, told):
            lines.append(
                f"  DIFFERS {answer.row.path}, row {answer.row.number}, id {answer.sample.id}:"
                f" here {score.value:g} ({score.extracted!r}), officially {told.value:g}"
                f" ({told.parsed!r})"
            )
    if file is not None and compared < len(official):
        lines.append(f"  {len(official) - compared} verdicts are on rows that are not there")
    return _summary(lines, "rows", compared, drawn, str(file.path) if file else "the rows")


def _differ(answer: Answer, score: Score, told: Verdict) -> bool:
    other = told.parsed is not None and told.parsed != score.extracted
    if answer.sample.question_type == "open" and not answer.sample.choices:
        other = other and len(answer.sample.answers) > 1
    return abs(score.value - told.value) > TOLERANCE or other or bool(told.drawn)


def _report_on_questions(result: Scored, file: VerdictFile) -> Report:
    lines = []
    compared = 0
    passes = defaultdict(list)
    for answer, score in result.pairs:
        passes[answer.question].append((answer, score))
    for question, value in result.questions().items():
        if question in file.verdicts:
            compared += 1
            told = file.verdicts[question].value
            if value != told:
                letters = [
                    f"{answer.sample.id}: {score.extracted or 'none'} of {answer.sample.answer}"
                    for answer, score in passes[question]
                ]
                lines.append(
                    f"  DIFFERS question {question}: here {value:g}, officially {told:g}"
                    f" ({', '.join(letters)})"
                )
    if compared < len(file.verdicts):
        lines.append(f"  {len(file.verdicts) - compared} verdicts are on questions not there")
    return _summary(lines, "questions", compared, 0, str(file.path))


def _summary(lines: list[str], kind: str, compared: int, drawn: int, source: str) -> Report:
    if not compared:
        return Report()
    differ = sum(line.startswith("  DIFFERS") for line in lines)
    told = f"  {compared} official verdicts on {kind} (from {source}): {differ} differ"
    told += f"; {drawn} officially drawn at random and not compared" if drawn else ""
    facts = {"compared": compared, "differences": differ, "officially_drawn": drawn}
    return Report([*lines, told], facts | {"lines": [line.strip() for line in lines]})

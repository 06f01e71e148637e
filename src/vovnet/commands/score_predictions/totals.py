"""Scored prediction sets, their totals, and the files that hold them."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.commands.score_predictions.compare import Report
from vovnet.commands.score_predictions.files import ROWS, TOTALS, PredictionSet
from vovnet.commands.score_predictions.predictions import Answer
from vovnet.config import Parse
from vovnet.core.files import write_json, write_text
from vovnet.core.records import Sample
from vovnet.evaluation.questions import score_sample
from vovnet.evaluation.scoring import load_scorer
from vovnet.evaluation.scoring.base import Score

DOMAINS = {
    "Art and Design": "Art Art_Theory Design Music",
    "Business": "Accounting Economics Finance Manage Marketing",
    "Science": "Biology Chemistry Geography Math Physics",
    "Health and Medicine": "Basic_Medical_Science Clinical_Medicine"
    " Diagnostics_and_Laboratory_Medicine Pharmacy Public_Health",
    "Humanities and Social Science": "History Literature Sociology Psychology",
    "Tech and Engineering": "Agriculture Architecture_and_Engineering Computer_Science Electronics"
    " Energy_and_Power Materials Mechanical_Engineering",
}
"""The subjects of MMMU by discipline."""

SEED = 42
"""With which MMMU's code draws an option, in the order of its rows."""


@dataclass(frozen=True)
class Total:
    """`right` of `count`; `right` is a sum of scores."""

    name: str
    right: float
    count: int

    @property
    def line(self) -> str:
        right = f"{self.right:.1f}".removesuffix(".0")
        return f"  {self.name:40}{right:>8} of {self.count:<6}{self.right / self.count:8.2%}"


@dataclass(frozen=True)
class Scored:
    """A set with a score for each answer."""

    given: PredictionSet
    parse: Parse
    scores: list[Score]

    @property
    def name(self) -> str:
        return self.given.name

    @property
    def pairs(self) -> Iterator[tuple[Answer, Score]]:
        return zip(self.given.answers, self.scores, strict=True)

    @property
    def guesses(self) -> bool:
        """Whether a text without an answer is guessed, and not wrong."""
        return self.given.layout.scorer in ("mmmu", "mmmu_pro")

    def questions(self) -> dict[str, float]:
        """The score of each question of which the first pass is there: every pass is right."""
        passes = defaultdict(list)
        main = set()
        for answer, score in self.pairs:
            passes[answer.question].append(score.value)
            if answer.is_main:
                main.add(answer.question)
        return {name: min(values) for name, values in passes.items() if name in main}

    def totals(self) -> list[Total]:
        """Of all rows; of whole questions where they have several passes; of each part."""
        questions = self.questions()
        totals = [_total("rows", self.scores_of())]
        if len(questions) < len(self.scores):
            totals.append(_total("questions, every pass right", questions.values()))
        if self.guesses and any(score.parse_fallback for score in self.scores):
            totals.append(_total("rows without guesses", self.scores_of(guessed=False)))
            totals.extend(self._drawn())
        for domain, subjects in DOMAINS.items() if self.guesses else ():
            totals.append(_total(domain, self.scores_of(subjects.split())))
        for part in sorted({answer.part for answer in self.given.answers} - {""}):
            totals.append(_total(part, self.scores_of([part])))
        return [total for total in totals if total.count]

    def scores_of(self, parts: Iterable[str] | None = None, guessed: bool = True) -> list[float]:
        """The scores of the rows of some parts (all if None), on demand without guesses."""
        wanted = None if parts is None else set(parts)
        return [
            score.value
            for answer, score in self.pairs
            if (wanted is None or answer.part in wanted) and (guessed or not score.parse_fallback)
        ]

    def _drawn(self) -> list[Total]:
        """All rows of MMMU with the draws of its own code in place of guesses by id."""
        if self.given.layout.scorer != "mmmu" or self.parse != "official":
            return []
        draw = random.Random(SEED)
        values = [
            float(draw.choice(list(answer.sample.choices)) in accepted(answer.sample))
            if score.parse_fallback
            else score.value
            for answer, score in self.pairs
        ]
        return [_total(f"rows, guesses drawn with seed {SEED}", values)]

    def lines(self) -> list[str]:
        """What is printed of the set."""
        given = self.given
        follows = load_scorer(given.layout.scorer).follows
        files = f" in {given.num_files} files" if given.num_files > 1 else ""
        return [
            f"{self.name}: {given.layout.title}, {len(self.scores)} rows{files}",
            f"  verdicts of {follows} (parse: {self.parse})",
            *([f"  {given.left_out} rows {given.layout.left_out}"] if given.left_out else []),
            *(total.line for total in self.totals()),
        ]


def scored(given: PredictionSet, parse: Parse) -> Scored:
    """Score every answer of a set."""
    scorer = given.layout.scorer
    return Scored(given, parse, [_score(scorer, answer, parse) for answer in given.answers])


def accepted(sample: Sample) -> list[str]:
    """The gold answers: of some questions of MMMU with options, any of several letters."""
    return sample.answers or [sample.answer]


def _score(scorer: str, answer: Answer, parse: Parse) -> Score:
    """The score of a text; of a question with several right options, by the one it fits best."""
    sample = answer.sample
    if answer.is_choice:
        return Score(float(answer.text in accepted(sample)), False, answer.text)
    letters = accepted(sample) if sample.choices else [sample.answer]
    samples = [sample.model_copy(update={"answer": letter}) for letter in letters]
    scores = [score_sample(scorer, one, answer.text, parse) for one in samples]
    return max(scores, key=lambda score: score.value)


def _total(name: str, values: Iterable[float]) -> Total:
    values = list(values)
    return Total(name, sum(values), len(values))


def write_output(folder: Path, results: list[Scored], reports: list[Report]) -> None:
    """Write `totals.json` and `rows.jsonl`, with the verdict on every row of every set."""
    rows = (_row(result, *pair) for result in results for pair in result.pairs)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(folder / ROWS, text)
    totals = [_facts(*pair) for pair in zip(results, reports, strict=True)]
    write_json(folder / TOTALS, totals)


def _row(result: Scored, answer: Answer, score: Score) -> dict[str, Any]:
    return {
        "set": result.name,
        "id": answer.sample.id,
        "question": answer.question,
        "score": score.value,
        "parsed": score.extracted,
        "parse_fallback": score.parse_fallback,
        "gold": answer.sample.answers or answer.sample.answer,
        "text": answer.text,
    }


def _facts(result: Scored, report: Report) -> dict[str, Any]:
    scorer = load_scorer(result.given.layout.scorer)
    return {
        "set": result.name,
        "layout": result.given.layout.title,
        "follows": scorer.follows,
        "parse": result.parse,
        "rows_left_out": result.given.left_out,
        "totals": [vars(total) for total in result.totals()],
        **report.facts,
    }

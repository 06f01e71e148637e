"""Prediction files by their layout: what each row answers, and what is right.

A layout is recognised by the keys of a file's first row. Its function yields an `Answer` per row.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vovnet.core.errors import DataError
from vovnet.core.records import Sample
from vovnet.data.formats.mmbench import CIRCULAR_STEP
from vovnet.data.formats.mmmu_pro import lettered_options
from vovnet.data.formats.source import Row
from vovnet.data.formats.textvqa import human_answers
from vovnet.data.formats.vlmevalkit import lettered_choices

NO_PREDICTION = "nan"
"""What VLMEvalKit scores where a prediction is missing."""


OTHER_ANSWERS = "Other Answers"
"""The second option of an open question of MMMU."""


class ForeignRowsError(DataError):
    """Rows that look like known ones and answer another benchmark."""


@dataclass(frozen=True)
class GoldRows:
    """Gold rows by name. Several files may hold a name, if their rows agree in all `columns`."""

    columns: tuple[str, ...]
    _rows: dict[str, Row] = field(default_factory=dict)
    _others: dict[str, Row] = field(default_factory=dict)

    def add(self, name: str, row: Row) -> None:
        first = self._rows.setdefault(name, row)
        if any(first.values.get(key) != row.values.get(key) for key in self.columns):
            self._others.setdefault(name, row)

    def get(self, name: str) -> Row | None:
        """The row of a name, None if there is none. It is an error if there are different ones."""
        if name in self._others:
            first, other = self._rows[name], self._others[name]
            raise DataError(
                f"{other.path}, row {other.number}: another gold answer to {name!r} than in"
                f" {first.path}, row {first.number}; expected one table with gold answers"
            )
        return self._rows.get(name)

    def __len__(self) -> int:
        return len(self._rows)


@dataclass(frozen=True)
class Gold:
    """Gold answers that lie in files of their own, by what their rows are called.

    `textvqa_questions` has rows by image and question, and then by id: people asked some questions
    twice.
    """

    mmmu: GoldRows = field(default_factory=lambda: GoldRows(("ground_truth", "question_type")))
    textvqa: GoldRows = field(default_factory=lambda: GoldRows(("answers",)))
    textvqa_questions: dict[tuple[str, str], dict[str, Row]] = field(default_factory=dict)
    mmbench: GoldRows = field(default_factory=lambda: GoldRows(("answer", *string.ascii_uppercase)))


@dataclass(frozen=True)
class Answer:
    """A predicted text and the question that it answers, with its gold.

    `question` is what circular passes share. `part` is the subject or category. `is_choice` says
    that the text is the letter that the official parser had read. `own` is the row, where it
    holds the official verdict too.
    """

    row: Row
    sample: Sample
    text: str
    question: str
    part: str = ""
    is_choice: bool = False
    is_main: bool = True
    own: Row | None = None


Reader = Callable[[Iterable[Row], Gold], Iterator[Answer]]


@dataclass(frozen=True)
class Layout:
    """How rows look that belong to it, which scorer judges them, and how they are read.

    `left_out` says why `read` yields no answer for some rows.
    """

    title: str
    scorer: str
    recognise: Callable[[Mapping[str, Any]], bool]
    read: Reader
    left_out: str = ""


def rows_with(rows: Iterable[Row], *keys: str) -> Iterator[Row]:
    """The rows, each of which must have the keys by which the first was recognised."""
    for row in rows:
        row.require(keys)
        yield row


def read_mmmu(rows: Iterable[Row], gold: Gold) -> Iterator[Answer]:
    """The rows of `output.json`: responses, most with their gold."""
    for row in rows_with(rows, "response"):
        name = row.identifier("id")
        answer = row.values.get("answer")
        if "answer" not in row.values and (known := gold.mmmu.get(name)):
            answer = known.values.get("ground_truth")
        lettered = row.text("question_type") == "multiple-choice"
        choices = row.values.get("index2ans") if lettered else {}
        if lettered and "index2ans" not in row.values and "options" in row.values:
            choices = lettered_options(row)
        if not isinstance(choices, dict) or (lettered and not choices):
            raise row.error("index2ans", "expected the options by letter")
        yield Answer(
            row=row,
            sample=_sample(row, name, "answer", answer, {k: str(v) for k, v in choices.items()}),
            text=row.optional_text("response"),
            question=name,
            part=subject_of(name),
            own=row if "judge" in row.values else None,
        )


def read_mmmu_choices(rows: Iterable[Row], gold: Gold) -> Iterator[Answer]:
    """The rows of `total_val_output.json`: letters that were read, and open answers."""
    for row in rows_with(rows, "response"):
        name = row.text("id")
        if (known := gold.mmmu.get(name)) is None:
            raise row.error("id", f"no gold answer for {name!r} is given, see --gold")
        yield Answer(
            row=row,
            sample=_sample(row, name, "id", known.values.get("ground_truth"), {}),
            text=row.optional_text("response"),
            question=name,
            part=subject_of(name),
            is_choice=known.values.get("question_type") == "multiple-choice",
        )


def read_mmmu_pro(rows: Iterable[Row], gold: Gold) -> Iterator[Answer]:
    """MMMU-Pro's rows, of either form. A response that is an object tells of a failed request."""
    for row in rows_with(rows, "options", "response"):
        name = row.identifier("id")
        response = row.values["response"]
        yield Answer(
            row=row,
            sample=_sample(row, name, "answer", row.text("answer"), lettered_options(row)),
            text="" if isinstance(response, dict) else row.optional_text("response"),
            question=name,
            part=row.optional_text("subject") or subject_of(name),
            own=row if "if_right" in row.values else None,
        )


def read_textvqa(rows: Iterable[Row], gold: Gold) -> Iterator[Answer]:
    """Rows by question id, with ten human answers in the row or in TextVQA's annotations."""
    for row in rows:
        name = row.identifier("question_id")
        column = next((key for key in TEXTVQA_TEXTS if key in row.values), TEXTVQA_TEXTS[0])
        row.require((column,))
        humans = next((key for key in ("answers", "gt_answers") if key in row.values), None)
        known = row if humans else gold.textvqa.get(name)
        if known is None:
            raise row.error("question_id", f"no human answers for {name!r} are given, see --gold")
        yield Answer(
            row=row,
            sample=_human_sample(known, humans or "answers", name),
            text=row.optional_text(column),
            question=name,
            own=row if "score" in row.values else None,
        )


def read_llava_textvqa(rows: Iterable[Row], gold: Gold) -> Iterator[Answer]:
    """LLaVA's answers to TextVQA: an image's id and a prompt, in which the question stands.

    Of a question that was asked twice, the people's last answers count, as in LLaVA's code.
    """
    asked: Counter[tuple[str, str]] = Counter()
    for row in rows_with(rows, "text"):
        key = (row.text("question_id"), _llava_question(row))
        if key not in gold.textvqa_questions:
            reason = f"no human answers for {key} are given, see --gold"
            raise ForeignRowsError(f"{row.at('prompt')}: {reason}")
        names = list(gold.textvqa_questions[key])
        name = names[min(asked[key], len(names) - 1)]
        asked[key] += 1
        sample = _human_sample(gold.textvqa_questions[key][names[-1]], "answers", name)
        yield Answer(row=row, sample=sample, text=row.optional_text("text"), question=name)


def _llava_question(row: Row) -> str:
    """The question in one of LLaVA's three forms of prompts, in lower case."""
    prompt = row.text("prompt")
    lines = prompt.split("\n")
    if prompt.startswith("OCR tokens: "):
        if found := re.search(r"Question: (.*?) Short answer:", prompt, re.DOTALL):
            return found[1].lower()
    elif "Reference OCR token: " in prompt and len(lines) == 3:
        return lines[prompt.startswith("Reference OCR token:")].lower()
    elif len(lines) == 2:
        return lines[0].lower()
    raise ForeignRowsError(f"{row.at('prompt')}: expected one of LLaVA's prompts for TextVQA")


def read_mmbench(rows: Iterable[Row], gold: Gold) -> Iterator[Answer]:
    """Rows of VLMEvalKit's tables: options and a prediction; what is right, in the row or apart."""
    for row in rows_with(rows, "prediction"):
        index = row.whole_number("index")
        known: Row | None = row
        if gold.mmbench and not row.optional_text("answer"):
            known = gold.mmbench.get(str(index))
        if known is not None:  # the official code passes over what its own table lacks
            yield _circular(row, known, row, index, row.values["prediction"])


def read_llava_mmbench(rows: Iterable[Row], gold: Gold) -> Iterator[Answer]:
    """LLaVA's answers to MMBench by index; of several to one index the last counts."""
    last = {}
    for row in rows_with(rows, "text"):
        if row.values.get("round_id"):
            raise row.error("round_id", "its options were rotated; expected answers of one round")
        last[row.whole_number("question_id")] = row
    for index, row in last.items():
        if (known := gold.mmbench.get(str(index))) is None:
            reason = f"no row {index} of MMBench's table is given, see --gold"
            raise ForeignRowsError(f"{row.at('question_id')}: {reason}")
        yield _circular(row, known, known, index, row.values["text"])


def _circular(row: Row, known: Row, options: Row, index: int, prediction: object) -> Answer:
    """An answer in one pass.

    VLMEvalKit scores MMMU so: a question without an option A, an open one, has its answer as A and
    "Other Answers" as B. An answer that is a capital letter is what must be chosen, of an open
    question too, and for any other A must be.
    """
    choices = lettered_choices(options)
    right = known.text("answer")
    if "question_type" in options.values:
        if "A" not in choices:
            choices |= {"A": right, "B": OTHER_ANSWERS}
        right = right if right in list(string.ascii_uppercase) else "A"
    if not choices:
        raise options.error("A", "the row has no option")
    text = "" if prediction is None else row.writable("prediction", str(prediction))
    group = (
        options.whole_number("g_index") if "g_index" in options.values else index % CIRCULAR_STEP
    )
    return Answer(
        row=row,
        sample=_sample(row, str(index), "answer", right, choices),
        text=text or NO_PREDICTION,
        question=str(group),
        part=known.optional_text("category"),
        is_main=index == group,
    )


def _sample(row: Row, name: str, column: str, answer: object, choices: Mapping[str, str]) -> Sample:
    """The question with its gold: accepted texts, of MMMU sometimes several letters."""
    accepted = answer if isinstance(answer, list) else [answer]
    texts = [row.writable(column, str(item)) for item in accepted if item is not None]
    if not texts:
        raise row.error(column, f"expected a gold answer, got {str(answer)[:80]!r}")
    return Sample(
        id=name,
        dataset=row.path.stem,
        split="predictions",
        question_type="multiple-choice" if choices else "open",
        question="",
        images=[],
        choices={letter: row.writable(letter, text) for letter, text in choices.items()},
        answer=texts[0],
        answers=[] if choices and len(texts) == 1 else texts,
    )


def _human_sample(row: Row, column: str, name: str) -> Sample:
    return _sample(row, name, column, human_answers(row, column), {})


def subject_of(name: str) -> str:
    """The subject in an id such as `validation_Art_Theory_12`; "" where there is none."""
    found = re.fullmatch(r"[^_]+_(.+)_\d+", name)
    return found[1] if found else ""


def _has(*keys: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda values: values.keys() >= set(keys)


def _is_parsed_mmmu(values: Mapping[str, Any]) -> bool:
    """An object of ids and texts, of which each entry became a row."""
    return values.keys() == {"id", "response"} and bool(subject_of(str(values["id"])))


def _is_textvqa(values: Mapping[str, Any]) -> bool:
    return "question_id" in values and any(key in values for key in TEXTVQA_TEXTS)


def _is_llava(values: Mapping[str, Any], kind: type) -> bool:
    """LLaVA calls an image of TextVQA by its id, a text, and a row of MMBench by its number."""
    answered = values.keys() >= {"question_id", "prompt", "text"}
    return answered and isinstance(values["question_id"], kind)


TEXTVQA_TEXTS = ("prediction", "pred_answer", "answer")
"""What the predicted text is called, by preference."""

LAYOUTS = (  # MMMU before MMMU-Pro: its rows on the hub have `options` too
    Layout("MMMU", "mmmu", _has("id", "question_type", "response"), read_mmmu),
    Layout("MMMU-Pro", "mmmu_pro", _has("id", "options", "response"), read_mmmu_pro),
    Layout(
        "MMBench",
        "mmbench",
        _has("index", "prediction"),
        read_mmbench,
        left_out="without an answer are left out, the gold table lacks them",
    ),
    Layout("TextVQA by LLaVA", "textvqa", lambda row: _is_llava(row, str), read_llava_textvqa),
    Layout(
        "MMBench by LLaVA",
        "mmbench",
        lambda row: _is_llava(row, int),
        read_llava_mmbench,
        left_out="are left out, later ones answer the same index",
    ),
    Layout("TextVQA", "textvqa", _is_textvqa, read_textvqa),
    Layout("MMMU, options read", "mmmu", _is_parsed_mmmu, read_mmmu_choices),
)

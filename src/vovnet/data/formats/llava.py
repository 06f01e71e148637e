"""LLaVA-Instruct: a JSON array or JSONL of conversations about an image.

LLaVA's question files are read too: an `instruction` with its `output`, or a `text` alone.

Every pair of turns becomes a sample of its own, called `<id>#<turn>` with turns from 0, because
a policy decides per question. In the published mix only the first turn of a conversation says how
to answer; here each of its samples does. The mix repeats ids: from the second on, the n-th row
with an id is called `<id>~<n>`, or the next that no row has.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal, NamedTuple

from pydantic import Field

from vovnet.config import Section
from vovnet.core.records import Sample
from vovnet.data.format_prompts import LETTER, SHORT_ANSWER, without_format
from vovnet.data.formats.base import DatasetFormat
from vovnet.data.formats.json_rows import iter_rows
from vovnet.data.formats.source import Row, Source
from vovnet.data.image_store import inside

IMAGE_TAG = "<image>"
ROLES = ("human", "gpt")

CAPTION = "Provide a one-sentence caption for the provided image."
BOX = "Please provide the bounding box coordinate of the region"
REGION = "Please provide a short description for this region"

Kind = Literal["short_answer", "choices", "caption", "conversation", "region", "box"]

_OPTIONS = re.compile(r"(.+?)((?:\n[A-Z]\. [^\n]+){2,})", re.DOTALL)
_OPTION = re.compile(r"\n([A-Z])\. ([^\n]+)")


class Options(Section):
    """What is taken of a mix of conversations, and how it is asked."""

    kinds: list[Kind] = Field(
        ["short_answer", "choices", "caption", "conversation"],
        min_length=1,
        description="The kinds of tasks that are taken. A `region` is given, and a `box` asked for,"
        " in coordinates of LLaVA's own convention.",
    )
    max_turns: int | None = Field(
        None, gt=0, description="At most so many turns are taken of a conversation, the first ones."
    )
    earlier_turns: bool = Field(
        False, description="Whether a question begins with the turns before it."
    )
    option_texts: bool = Field(
        False,
        description="Whether a question that asks for an option's letter becomes one of multiple"
        " choice, to be answered with the option's text as those of benchmarks are.",
    )


class Turn(NamedTuple):
    """A question as it was written, in front of `format` (how to answer, "" if it says nothing)."""

    number: int
    question: str
    format: str
    answer: str

    @property
    def kind(self) -> Kind:
        return kind_of(f"{self.question}\n{self.format}")


def kind_of(question: str) -> Kind:
    """The kind of task that a question of the mix is, by its wording."""
    if question.startswith(BOX):
        return "box"
    if question.startswith(REGION):
        return "region"
    if CAPTION in question:
        return "caption"
    last = question.rstrip().rpartition("\n")[2]
    return (
        "short_answer" if last == SHORT_ANSWER else "choices" if last == LETTER else "conversation"
    )


def read(source: Source) -> Iterator[Sample]:
    """The samples in file order; rows without an image are skipped and counted."""
    options = Options.model_validate(source.data.dataset(source.dataset).options)
    for row in iter_rows(source.file):
        image = row.values.get("image")
        paths = row.texts("image") if isinstance(image, list) else [row.optional_text("image")]
        if not image:
            source.skipped["row without image"] += 1
            continue
        yield from _samples(source, row, paths, options)


def _samples(source: Source, row: Row, paths: list[str], options: Options) -> Iterator[Sample]:
    row_id, turns = _row_id(source, row), _turns(source, row)
    wanted = [turn for turn in turns if turn.kind in options.kinds]
    kept = list(islice(wanted, options.max_turns))
    for turn in turns:
        if turn.kind not in options.kinds:
            source.skipped[f"turn of kind {turn.kind}"] += 1
    if len(kept) < len(wanted):
        source.skipped["turn beyond max_turns"] += len(wanted) - len(kept)
    if not kept:
        return
    images = [source.images.add_file(source.image_root, path, row.at("image")) for path in paths]
    kind = row.optional_text("category" if "category" in row.values else "type")
    folders = inside(paths[0], row.at("image")).parts[:-1]
    for turn in kept:
        before = [earlier for earlier in turns if earlier.number < turn.number]
        yield Sample(
            id=f"{row_id}#{turn.number}",
            dataset=source.dataset,
            split=source.split,
            images=images,
            category=kind or (folders[0] if folders else ""),
            conversation=row_id if len(kept) > 1 else "",
            **_asked(turn, before if options.earlier_turns else [], options.option_texts),
        )


def _asked(turn: Turn, before: list[Turn], option_texts: bool) -> dict[str, Any]:
    """What is asked, behind the turns before it, and what is the answer."""
    talk = "".join(f"{earlier.question}\n{earlier.answer}\n\n" for earlier in before)
    stem, choices = _choices(turn.question) if turn.format == LETTER else ("", {})
    if option_texts and turn.answer in choices:
        return {
            "question_type": "multiple-choice",
            "question": talk + stem,
            "choices": choices,
            "answer": turn.answer,
            "answer_text": choices[turn.answer],
        }
    question = f"{talk}{turn.question}\n{turn.format}".strip()
    answer = {"answer": turn.answer, "answer_text": turn.answer}
    return {"question_type": "instruction", "question": question} | answer


def _choices(question: str) -> tuple[str, dict[str, str]]:
    """A question and its options by letter; none where it does not end in any."""
    found = _OPTIONS.fullmatch(question)
    return (found[1], dict(_OPTION.findall(found[2]))) if found else (question, {})


def _row_id(source: Source, row: Row) -> str:
    """A unique id of the row: its own, or file name and row number if it has none."""
    column = "id" if "id" in row.values else "question_id"
    if row.values.get(column) is None:
        return source.unique(f"{row.path.stem}:{row.number}")
    return source.unique(row.identifier(column))


def _turns(source: Source, row: Row) -> list[Turn]:
    """The turns of a conversation that say something, each with the format that holds for it.

    A format of the first turn holds for the later ones: all of them come from one dataset.
    """
    texts, answered = _texts(row), "text" not in row.values
    turns: list[Turn] = []
    inherited = ""
    for number in range(0, len(texts), 2):
        question, own = without_format(texts[number].replace(IMAGE_TAG, "").strip())
        answer = texts[number + 1].strip()
        inherited = own if number == 0 else inherited
        if not (question or own) or (answered and not answer):
            source.skipped["turn without text"] += 1
            continue
        holds = own or inherited
        if holds == LETTER and not own and not _choices(question)[1]:
            holds = ""
        turns.append(Turn(number // 2, question, holds, answer))
    return turns


def _texts(row: Row) -> list[str]:
    """The texts of the turns, human and gpt alternating."""
    if "conversations" not in row.values:
        if "instruction" in row.values:
            return [row.text("instruction"), row.text("output")]
        if "text" in row.values:
            return [row.text("text"), ""]
    turns = row.values.get("conversations")
    if not isinstance(turns, list) or not turns or len(turns) % 2:
        raise row.error("conversations", "expected a list of human and gpt turns in pairs")
    texts = []
    for position, turn in enumerate(turns):
        role = ROLES[position % 2]
        if not isinstance(turn, dict) or turn.get("from") != role:
            raise row.error("conversations", f"expected turn {position} to be from {role!r}")
        if not isinstance(turn.get("value"), str):
            raise row.error("conversations", f"expected the value of turn {position} to be text")
        texts.append(row.writable("conversations", turn["value"]))
    return texts


def _kind(sample: Sample) -> str:
    """The kind of task that a sample is; turns before the question end with an empty line."""
    return "choices" if sample.choices else kind_of(sample.question.rpartition("\n\n")[2])


FORMAT = DatasetFormat(
    read=read,
    scorer="exact",
    question_types=("instruction", "multiple-choice"),
    files="LLaVA-Instruct JSON or JSONL, a sample per turn; LLaVA's question files",
    answers="the reply",
    category="the row's own, or the first folder of the image's path",
    options=Options,
    kind=_kind,
)

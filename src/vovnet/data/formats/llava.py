"""LLaVA-Instruct: a JSON array or JSONL of conversations about an image.

LLaVA's question files are read too: an `instruction` with its `output`, or a `text` alone.

Every pair of turns becomes a sample of its own, called `<id>#<turn>` with turns from 0, because
a policy decides per question. The published mix repeats ids: from the second on, the n-th row
with an id is called `<id>~<n>`, or the next that no row has.
"""

from collections.abc import Iterator

from vovnet.core.records import Sample
from vovnet.data.formats.base import DatasetFormat
from vovnet.data.formats.json_rows import iter_rows
from vovnet.data.formats.source import Row, Source
from vovnet.data.image_store import inside

IMAGE_TAG = "<image>"
ROLES = ("human", "gpt")


def read(source: Source) -> Iterator[Sample]:
    """The samples in file order; rows without an image are skipped and counted."""
    for row in iter_rows(source.file):
        image = row.values.get("image")
        paths = row.texts("image") if isinstance(image, list) else [row.optional_text("image")]
        if not image:
            source.skipped["row without image"] += 1
            continue
        yield from _samples(source, row, paths, _row_id(source, row))


def _samples(source: Source, row: Row, paths: list[str], row_id: str) -> Iterator[Sample]:
    turns = _turns(row)
    answered = "text" not in row.values
    images = [source.images.add_file(source.image_root, path, row.at("image")) for path in paths]
    kind = row.optional_text("category" if "category" in row.values else "type")
    folders = inside(paths[0], row.at("image")).parts[:-1]
    for turn in range(0, len(turns), 2):
        question = turns[turn].replace(IMAGE_TAG, "").strip()
        answer = turns[turn + 1].strip()
        if not question or (answered and not answer):
            source.skipped["turn without text"] += 1
            continue
        yield Sample(
            id=f"{row_id}#{turn // 2}",
            dataset=source.dataset,
            split=source.split,
            question_type="instruction",
            question=question,
            images=images,
            answer=answer,
            answer_text=answer,
            category=kind or (folders[0] if folders else ""),
        )


def _row_id(source: Source, row: Row) -> str:
    """A unique id of the row: its own, or file name and row number if it has none."""
    column = "id" if "id" in row.values else "question_id"
    if row.values.get(column) is None:
        return source.unique(f"{row.path.stem}:{row.number}")
    return source.unique(row.identifier(column))


def _turns(row: Row) -> list[str]:
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


FORMAT = DatasetFormat(
    read=read,
    scorer="exact",
    question_types=("instruction",),
    files="LLaVA-Instruct JSON or JSONL, a sample per turn; LLaVA's question files",
    answers="the reply",
    category="the row's own, or the first folder of the image's path",
)

"""The records that travel between the steps, and how they are stored.

A `Sample` is one line of the unified JSONL, see `vovnet.data.samples`. Signals and observations are
parquet tables with one row per sample. The columns of results are in `vovnet.evaluation.columns`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vovnet.core.errors import DataError
from vovnet.core.files import atomic_path, check_is_file

SCHEMA_VERSION = 1

GROUP_ROWS = 1 << 17
"""Of a table that comes in parts: so many rows are gathered before they are written, together."""

QuestionType = Literal["multiple-choice", "open", "vqa", "instruction"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageRef(_Record):
    """An image file beside the JSONL; width and height in pixels as it is displayed.

    `perceptual` is the hash of its look, "" where the image is too plain to have one.
    """

    path: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    sha256: str
    perceptual: str = ""


class Sample(_Record):
    """One question with its image(s), choices and gold answer(s).

    `answer` is the gold as its source gives it (a letter for multiple choice), and
    `answer_text` what a model is trained to say. `answers` holds every accepted answer
    (the ten human answers of TextVQA, the list-valued gold of MMMU). All three are empty
    where the split has no gold. `group` and `pass_index` tie circular replicas together, and
    `conversation` ties turns about the same images; it is left out of what is stored where a
    sample stands alone.
    """

    schema_version: Literal[1] = 1
    id: str
    dataset: str
    split: str
    question_type: QuestionType
    question: str
    images: list[ImageRef]
    choices: dict[str, str] = Field(default_factory=dict)
    hint: str = ""
    answer: str = ""
    answer_text: str = ""
    answers: list[str] = Field(default_factory=list)
    category: str = ""
    subject: str = ""
    group: str = ""
    pass_index: int = 0
    conversation: str = Field("", exclude_if=lambda name: not name)

    @property
    def unit(self) -> str:
        """What samples share that must not be torn apart: a question, or a conversation."""
        return self.group or self.conversation or self.id


# Columns of the parquet tables: name -> type.


def signal_columns(actions: Sequence[str]) -> dict[str, pa.DataType]:
    """What the text pass yields per sample, for the actions of a suite."""
    return {
        "id": pa.string(),
        "entropy": pa.float64(),  # nats, at the position that emits the first answer token
        "margin": pa.float64(),  # probability of the top token minus that of the second
        # nats, up to a constant per sample
        **{f"score_{action}": pa.float64() for action in actions},
        "text_tokens": pa.int64(),  # tokens that the text pass processed
        # vision tokens that each action would cost
        **{f"tokens_{action}": pa.int64() for action in actions},
        "flops_text_pass": pa.int64(),
    }


OBSERVATION_COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "text": pa.string(),
    "vision_tokens": pa.int64(),
    "prompt_tokens": pa.int64(),
    "generated_tokens": pa.int64(),  # without the end token
    "entropy": pa.float64(),  # as in the signals, of the first answer token under this view
    "margin": pa.float64(),
    "log_probability": pa.float64(),  # nats, of the generated answer with its end token
    # empty where beams were searched, which are not counted
    "flops_vision_tower": pa.int64(),
    "flops_language_model": pa.int64(),  # after the text pass, from whose cache it goes on
    "flops_language_model_alone": pa.int64(),  # without a text pass before it
}

TIMING_COLUMNS: dict[str, pa.DataType] = {"id": pa.string(), "latency_ms": pa.float64()}


def write_table(
    path: Path | str,
    rows: pd.DataFrame,
    columns: dict[str, pa.DataType],
    *,
    checksums: bool = False,
) -> None:
    """Write parquet atomically with exactly `columns`, in order; equal rows give equal bytes.

    With `checksums` a damaged page is refused when it is read, for files that no manifest tells of.
    """
    schema = pa.schema(list(columns.items()))
    table = pa.Table.from_pandas(rows[list(columns)], schema=schema, preserve_index=False)
    _write(path, table, checksums)


_METADATA = {"vovnet_schema": str(SCHEMA_VERSION)}


def _write(path: Path | str, table: pa.Table, checksums: bool) -> None:
    table = table.replace_schema_metadata(_METADATA)
    with atomic_path(path) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=checksums)


@contextmanager
def writing_table(
    path: Path | str, columns: dict[str, pa.DataType]
) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that adds rows to a table, which takes its place when the block succeeds.

    A table of up to `GROUP_ROWS` rows has the bytes that `write_table` gives it. A larger one is
    written in groups of at least so many, and who reads a part of it need not read it all.
    """
    schema = pa.schema(list(columns.items()), metadata=_METADATA)
    held: list[pa.Table] = []
    with (
        atomic_path(path) as partial,
        pq.ParquetWriter(partial, schema, compression="zstd") as writer,
    ):

        def write() -> None:
            writer.write_table(pa.concat_tables(held).combine_chunks())
            held.clear()

        def add(rows: pd.DataFrame) -> None:
            part = pa.Table.from_pandas(rows[list(columns)], schema, preserve_index=False)
            held.append(part.replace_schema_metadata(_METADATA))
            if sum(map(len, held)) >= GROUP_ROWS:
                write()

        yield add
        if held:
            write()


def write_states(
    path: Path | str,
    ids: Sequence[str],
    states_NF: NDArray[np.float16],
    *,
    checksums: bool = False,
) -> None:
    """Write the pooled state of each sample's text pass; equal states give equal bytes."""
    kind = pa.list_(pa.float16(), states_NF.shape[1])
    states = pa.FixedSizeListArray.from_arrays(pa.array(states_NF.reshape(-1)), type=kind)
    table = pa.table({"id": pa.array(ids, pa.string()), "state": states})
    _write(path, table, checksums)


def read_states(path: Path | str) -> tuple[list[str], NDArray[np.float16]]:
    """Ids and pooled states, (N, F), in the order of their set."""
    table = _read(path, ["id", "state"])
    states = table["state"].combine_chunks()
    flat = states.flatten().to_numpy(zero_copy_only=False)
    return table["id"].to_pylist(), flat.reshape(len(table), states.type.list_size)


def check_table(path: Path | str) -> None:
    """Refuse a parquet file that cannot be read, or of which a page is not as it was written."""
    _read(path, ())


def read_table(
    path: Path | str,
    columns: Mapping[str, pa.DataType],
    only: Sequence[str] = (),
    where: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Read parquet; a missing file or column is one clear error.

    `only` names the columns that are needed, and `where` the values of those by which rows are.
    """
    return _read(path, columns, only, where).to_pandas()


def _read(
    path: Path | str,
    columns: Iterable[str],
    only: Sequence[str] = (),
    where: Mapping[str, Any] | None = None,
) -> pa.Table:
    try:
        check_is_file(path)
        names = pq.read_schema(path).names
        missing = [name for name in columns if name not in names]
        if missing:
            raise DataError(f"{path}: column {missing[0]!r} is missing, it has {names}")
        return pq.read_table(
            path,
            columns=list(only) or None,
            filters=[(name, "==", value) for name, value in (where or {}).items()] or None,
            page_checksum_verification=True,
        )
    except FileNotFoundError:
        raise DataError(f"{path}: file not found") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file ({error})") from None

"""The samples that the leakage gate leaves out of a mix, as a JSONL that says why of each."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vovnet.core.errors import DataError
from vovnet.core.files import read_jsonl, writing
from vovnet.data.samples import SampleFile

Mix = Literal["train", "router_fit"]


class LeftOut(BaseModel):
    """A sample of `mix`: the row of its prepared split, from 0, and what it shares with which set.

    `set` is an evaluation set or `router_fit`, and `shared_with` the first of its samples that has
    the same `kind` of key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mix: Mix
    dataset: str
    split: str
    row: int
    id: str
    set: str
    kind: str
    shared_with: str


def write_left_out(path: Path, samples: Iterable[LeftOut]) -> None:
    """Write the list atomically, also where it is empty."""
    with writing(path) as file:
        for sample in samples:
            file.write(sample.model_dump_json() + "\n")


def read_left_out(path: Path, mix: str) -> dict[tuple[str, str], dict[int, str]]:
    """Row -> id of what is left out of a mix, by dataset and split."""
    if not path.exists():
        raise DataError(f"{path}: file not found; `vovnet leakage` writes it")
    found: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for line, value in read_jsonl(path):
        try:
            sample = LeftOut.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "(line)"
            raise DataError(f"{path}, line {line}, {key}: {first['msg']}") from None
        if sample.mix == mix:
            found[sample.dataset, sample.split][sample.row] = sample.id
    return found


def kept_rows(
    file: SampleFile, rows: Sequence[int], left_out: Mapping[int, str], path: Path
) -> list[int]:
    """The rows that are not left out; those that are must be the samples that `path` names."""
    for row in rows:
        if row in left_out and file.sample(row).id != left_out[row]:
            raise DataError(
                f"{path}: expected {left_out[row]!r} in row {row} of {file.path}, got"
                f" {file.sample(row).id!r}; `vovnet leakage` writes it anew"
            )
    return [row for row in rows if row not in left_out]

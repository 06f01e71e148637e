"""Unified samples on disk: a JSONL with one sample per line, read when a sample is asked for.

A training mix has hundreds of thousands of samples, and every process of a training would hold
its own copy of them. So only the place of each line is held in memory.
"""

import hashlib
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISDIR
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from pydantic_core import from_json

from vovnet.core.errors import DataError
from vovnet.core.files import MAX_ROW_CHARS, check_is_file, writing
from vovnet.core.records import Sample

CHUNK_BYTES = 1 << 24

Indices = NDArray[np.int64]


def write_samples(path: Path, samples: Iterable[Sample]) -> int:
    """Write a unified JSONL atomically; returns the number of lines."""
    count = 0
    with writing(path) as file:
        for sample in samples:
            file.write(sample.model_dump_json() + "\n")
            count += 1
    return count


def read_samples(path: Path) -> "SampleSet":
    """All samples of a unified JSONL, as they are stored."""
    file = SampleFile(path)
    return SampleSet.of([(file, range(len(file)))])


class SampleFile:
    """The lines of one unified JSONL; blank ones are left out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            check_is_file(path)
            self._descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise DataError(f"{path}: file not found") from None
        weakref.finalize(self, os.close, self._descriptor)
        if S_ISDIR(os.fstat(self._descriptor).st_mode):
            raise DataError(f"{path}: is a folder, expected a file of samples")
        edges = self._edges()
        self._numbers = np.flatnonzero(np.diff(edges) > 1)
        self._starts, self._ends = edges[self._numbers], edges[self._numbers + 1]
        if not len(self):
            raise DataError(f"{path}: the dataset is empty, expected at least one sample")

    def __reduce__(self) -> "tuple[Callable[[Path], SampleFile], tuple[Path]]":
        return SampleFile, (self.path,)  # a worker process opens the file itself

    def __len__(self) -> int:
        return len(self._numbers)

    def line(self, row: int) -> bytes:
        """The bytes of a line, its end included."""
        start, end = int(self._starts[row]), int(self._ends[row])
        return os.pread(self._descriptor, end - start, start)  # leaves no position behind

    def sample(self, row: int) -> Sample:
        """The sample of a line; errors name the file and the line in it."""
        where = f"{self.path}, line {self._numbers[row] + 1}"
        try:
            return Sample.model_validate_json(self.line(row).decode())
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not valid UTF-8 ({error.reason})") from None
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "json_invalid":
                raise DataError(f"{where}: not valid JSON ({first['ctx']['error']})") from None
            key = ".".join(str(part) for part in first["loc"]) or "(line)"
            raise DataError(f"{where}, {key}: {first['msg']}") from None

    def unit(self, row: int) -> str:
        """`Sample.unit` of a line, without the time that checking the whole sample takes."""
        try:
            value = from_json(self.line(row))
            return str(value.get("group") or value.get("conversation") or value["id"])
        except (ValueError, KeyError, AttributeError):
            return self.sample(row).unit  # which says what is wrong

    def question(self, row: int) -> tuple[str, int]:
        """A name of the question of a line, and which pass of it the line is; likewise."""
        try:
            value = from_json(self.line(row))
            group, pass_index = value.get("group"), int(value.get("pass_index", 0))
            return (f"group {group}" if group else f"id {value['id']}"), pass_index
        except (ValueError, KeyError, AttributeError, TypeError):
            sample = self.sample(row)  # which says what is wrong
            name = f"group {sample.group}" if sample.group else f"id {sample.id}"
            return name, sample.pass_index

    def _edges(self) -> Indices:
        """Where each line begins, and at last where the file ends."""
        size, ends = os.fstat(self._descriptor).st_size, [np.zeros(1, np.int64)]
        for start in range(0, size, CHUNK_BYTES):
            chunk = np.frombuffer(os.pread(self._descriptor, CHUNK_BYTES, start), np.uint8)
            ends.append(start + 1 + np.flatnonzero(chunk == ord("\n")))
        edges = np.concatenate(ends)
        edges = edges if edges[-1] == size else np.append(edges, size)
        if len(long := np.flatnonzero(np.diff(edges) > MAX_ROW_CHARS)):
            where = f"{self.path}, line {long[0] + 1}"
            raise DataError(f"{where}: has more than {MAX_ROW_CHARS:,} bytes")
        return edges


@dataclass(frozen=True, eq=False)
class SampleSet(Sequence[Sample]):
    """Samples of several files in a fixed order: sample i is a row of one of the files.

    `change` is applied to every sample that is read, to make ids unique over the files.
    """

    files: Sequence[SampleFile]
    files_N: Indices
    rows_N: Indices
    change: Callable[[Sample], Sample] | None = None

    @classmethod
    def of(
        cls,
        parts: Sequence[tuple[SampleFile, ArrayLike]],
        change: Callable[[Sample], Sample] | None = None,
    ) -> "SampleSet":
        """The given rows of the given files, one part after the other."""
        rows = [np.asarray(chosen, dtype=np.int64) for _, chosen in parts]
        files_N = np.repeat(np.arange(len(parts)), [len(chosen) for chosen in rows])
        return cls([file for file, _ in parts], files_N, np.concatenate(rows), change)

    def __len__(self) -> int:
        return len(self.rows_N)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "SampleSet": ...
    def __getitem__(self, index: int | slice) -> "Sample | SampleSet":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        sample = self.files[self.files_N[index]].sample(int(self.rows_N[index]))
        return self.change(sample) if self.change else sample

    def take(self, indices: ArrayLike) -> "SampleSet":
        """The samples at these indices, in the order of the indices."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(self, files_N=self.files_N[chosen], rows_N=self.rows_N[chosen])

    def content_key(self) -> str:
        """SHA-256 of the stored lines in their order: equal keys mean equal samples."""
        digest = hashlib.sha256()
        for file, row in zip(self.files_N, self.rows_N, strict=True):
            digest.update(self.files[file].line(int(row)))
        return digest.hexdigest()

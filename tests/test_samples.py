"""Samples that are read from their files one by one, and what is held out of a training mix."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.properties import given, st
from support.samples import make_sample
from vovnet.core.errors import DataError
from vovnet.core.records import Sample
from vovnet.data import samples as on_disk
from vovnet.data.samples import SampleFile, SampleSet, write_samples
from vovnet.training.calibration import split_held_out


def sample(name: str, **values: Any) -> Sample:
    return make_sample(name, **({"question": "é?"} | values))


def stored(folder: Path, *samples: Sample) -> SampleFile:
    path = folder / "samples.jsonl"
    write_samples(path, samples)
    return SampleFile(path)


@pytest.mark.parametrize("chunk", [7, 1 << 24])
@pytest.mark.parametrize("end", ["\n", ""])
def test_every_line_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, end: str
) -> None:
    """Wherever a piece of the file that is searched for line ends is cut off."""
    monkeypatch.setattr(on_disk, "CHUNK_BYTES", chunk)
    samples = [sample("a"), sample("b" * 40), sample("c")]
    lines = [item.model_dump_json() for item in samples]
    path = tmp_path / "samples.jsonl"
    path.write_text(lines[0] + "\n\n" + lines[1] + "\n" + lines[2] + end, encoding="utf-8")
    file = SampleFile(path)
    assert [file.sample(row) for row in range(len(file))] == samples
    again = pickle.loads(pickle.dumps(file))
    assert again.sample(1) == samples[1], "as a worker process gets it"


def test_errors_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with pytest.raises(DataError, match=r"samples\.jsonl: file not found"):
        SampleFile(path)
    with pytest.raises(DataError, match="is a folder, expected a file of samples"):
        SampleFile(tmp_path)
    path.write_text("\n")
    with pytest.raises(DataError, match=r"samples\.jsonl: the dataset is empty"):
        SampleFile(path)
    path.write_text(sample("a").model_dump_json() + "\n\n{\n" + '{"id": 5}\n')
    file = SampleFile(path)
    with pytest.raises(DataError, match=r"samples\.jsonl, line 3: not valid JSON"):
        file.sample(1)
    with pytest.raises(DataError, match=r"samples\.jsonl, line 4, id: Input should be"):
        file.sample(2)


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_line_that_is_too_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """The last one too, which may have no line end."""
    monkeypatch.setattr(on_disk, "MAX_ROW_CHARS", 50)
    path = tmp_path / "samples.jsonl"
    path.write_text("{}\n" + "x" * 60 + end)
    with pytest.raises(DataError, match=r"samples\.jsonl, line 2: has more than 50 bytes"):
        SampleFile(path)


def test_a_set_is_a_sequence_of_chosen_rows(tmp_path: Path) -> None:
    file = stored(tmp_path, *(sample(name) for name in "abcd"))
    chosen = SampleSet.of([(file, [3, 1]), (file, range(1))])
    assert [item.id for item in chosen] == ["d", "b", "a"]
    assert [item.id for item in chosen[1:]] == ["b", "a"]
    assert chosen[-1].id == "a" and len(chosen.take([])) == 0
    with pytest.raises(IndexError):
        chosen[3]


def test_the_content_key_follows_the_chosen_samples_and_their_order(tmp_path: Path) -> None:
    file = stored(tmp_path, *(sample(name) for name in "abc"))
    key = SampleSet.of([(file, [0, 1])]).content_key()
    assert key == SampleSet.of([(stored(tmp_path, sample("a"), sample("b")), [0, 1])]).content_key()
    assert key != SampleSet.of([(file, [1, 0])]).content_key()
    assert key != SampleSet.of([(file, [0])]).content_key()
    edited = stored(tmp_path, sample("a"), sample("b", question="?"))
    assert key != SampleSet.of([(edited, [0, 1])]).content_key()


def in_memory(samples: list[Sample], count: int) -> list[int]:
    """The rows to hold out, as they follow from all group names at once."""
    limit = min(count, len(samples) // 10)
    names = [item.group or item.id for item in samples]
    sizes, held = Counter(names), set[str]()
    ranked = sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest())
    for name in ranked[: limit + 1]:
        if sum(sizes[other] for other in held) + sizes[name] <= limit:
            held.add(name)
    return [row for row, name in enumerate(names) if name in held]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=120), st.integers(0, 12))
def test_what_is_held_out_follows_from_the_ranks_of_all_groups(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int], count: int
) -> None:
    samples = [sample(str(row), group=str(group or "")) for row, group in enumerate(groups)]
    file = stored(tmp_path_factory.mktemp("set"), *samples)
    kept, held = split_held_out(SampleSet.of([(file, range(len(file)))]), count)
    rows = in_memory(samples, count)
    assert list(held) == [samples[row] for row in rows]
    assert list(kept) == [item for row, item in enumerate(samples) if row not in rows]

"""Which image files a split was read from, and whether planning sees that they are others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support.raw_rows import llava_row, picture, prepared, raw, settings_for, textvqa_row
from vovnet.core.layout import Layout
from workflow.plan import raw_inputs
from workflow.plan.raw_inputs import images_changed, own_files

ROW = {"id": "1", "question": "q", "options": ["a", "b"], "answer": "A", "image_1": "coco/a.png"}
FORMATS = {
    "llava": [llava_row("x")],
    "mmmu": [ROW],
    "textvqa": {"data": [textvqa_row(1, image_id="coco/a")]},
}
IMAGE = "im/coco/a.png"


@pytest.fixture(params=FORMATS)
def read(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A split with one image, as files, that has been prepared; its format."""
    raw(tmp_path, IMAGE).write_bytes(picture())
    raw(tmp_path, "dev.json").write_text(json.dumps(FORMATS[request.param]))
    prepared(tmp_path, request.param, "dev.json", image_root="im")
    return str(request.param)


def is_stale(folder: Path, kind: str) -> bool:
    settings = settings_for(folder, kind, "dev.json", image_root="im")
    assert own_files(settings, "toy", "dev") == [folder / "raw/dev.json"]
    return images_changed(settings, Layout(folder / "results"), "toy", "dev")


def overwrite(path: Path) -> None:
    path.write_bytes(picture("blue"))


def put_a_new_file_in_its_place(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.write_bytes(picture("blue"))


def same_size(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def copy(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def strays(path: Path) -> None:
    for name in (".DS_Store", "coco/.DS_Store", "coco/b.png"):
        (path.parents[1] / name).write_bytes(picture("blue"))


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        (overwrite, True),
        (put_a_new_file_in_its_place, True),
        (same_size, True),
        (Path.unlink, True),
        (touch, False),
        (copy, False),
        (strays, False),
    ],
)
def test_an_image_that_is_another_one_is_seen_and_others_do_not_count(
    tmp_path: Path, read: str, change: Callable[[Path], None], stale: bool
) -> None:
    assert not is_stale(tmp_path, read)
    change(tmp_path / "raw" / IMAGE)
    assert is_stale(tmp_path, read) == stale
    prepare_again = change is not Path.unlink
    if prepare_again:
        prepared(tmp_path, read, "dev.json", image_root="im")
        assert not is_stale(tmp_path, read)


def test_a_touched_image_is_read_once(
    tmp_path: Path, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    digest = raw_inputs.sha256_file
    monkeypatch.setattr(raw_inputs, "sha256_file", lambda path: hashed.append(path) or digest(path))
    touch(tmp_path / "raw" / IMAGE)
    assert [is_stale(tmp_path, read) for _ in range(3)] == [False] * 3
    assert len(hashed) == 1


def test_an_image_that_would_be_read_instead_is_seen(tmp_path: Path) -> None:
    """TextVQA names an image without its suffix, and .jpg goes before .png."""
    raw(tmp_path, IMAGE).write_bytes(picture())
    raw(tmp_path, "dev.json").write_text(json.dumps(FORMATS["textvqa"]))
    prepared(tmp_path, "textvqa", "dev.json", image_root="im")
    assert not is_stale(tmp_path, "textvqa")
    raw(tmp_path, "im/coco/a.jpg").write_bytes(picture("blue", kind="JPEG"))
    assert is_stale(tmp_path, "textvqa")


def test_a_split_is_stale_by_any_of_many_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_inputs, "BLOCK", 4)
    monkeypatch.setattr(raw_inputs, "PART", 2)
    rows = [llava_row(str(number), image=f"{number}.png") for number in range(11)]
    for row in rows:
        raw(tmp_path, f"im/{row['image']}").write_bytes(picture())
    raw(tmp_path, "dev.json").write_text(json.dumps(rows))
    prepared(tmp_path, "llava", "dev.json", image_root="im")
    assert not is_stale(tmp_path, "llava")
    overwrite(tmp_path / "raw/im/10.png")
    assert is_stale(tmp_path, "llava")


def test_a_stray_file_in_a_folder_of_tables_is_none_of_its_inputs(tmp_path: Path) -> None:
    table = raw(tmp_path, "Art/dev-0.parquet")
    table.write_bytes(b"")
    for name in (".DS_Store", "Art/.DS_Store", "Art/test-0.parquet", "README.md"):
        raw(tmp_path, name).write_bytes(b"")
    assert own_files(settings_for(tmp_path, "mmmu", "."), "toy", "dev") == [table]

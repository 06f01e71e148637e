"""Folders of long jobs: one recipe's work at a time, and no recipe's work is removed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vovnet.core.files import sha256_bytes, write_json
from vovnet.pipeline.claims import claimed_folder, recipe_folder

FIRST, SECOND = {"config": "a"}, {"config": "b"}


def work(folder: Path, key: dict[str, str], name: str = "weights", finish: bool = True) -> bool:
    """Claim a folder, leave a file there, and finish; returns whether it was complete before."""
    with claimed_folder(folder, key) as complete:
        if not complete:
            (folder / name).write_text(key["config"])
            if finish:
                (folder / "manifest.json").write_text("{}")
    return complete


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("finish", [True, False])
def test_what_another_recipe_made_is_set_aside_and_taken_up_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], finish: bool
) -> None:
    """Finished or not, and although Snakemake removes the manifest before it runs a job again."""
    folder = tmp_path / "stage2"
    assert not work(folder, FIRST, finish=finish)
    (folder / "manifest.json").unlink(missing_ok=True)
    assert not work(folder, SECOND)
    (aside,) = tmp_path.glob("stage2-????????")
    assert capsys.readouterr().err == (
        f"{folder}: set aside what another recipe made, as {aside.name}\n"
    )
    assert (aside / "weights").read_text() == "a"
    assert (folder / "weights").read_text() == "b"
    with claimed_folder(folder, FIRST) as complete:
        assert complete == finish
        assert (folder / "weights").read_text() == "a"
        assert (folder / "manifest.json").exists() == finish
    (second,) = tmp_path.glob("stage2-????????")
    assert (second / "weights").read_text() == "b"
    assert work(folder, SECOND), "swapped once more, without work"
    assert names(tmp_path) == {"stage2", aside.name, ".stage2.lock"}


def test_two_folders_of_one_recipe_are_both_kept(tmp_path: Path) -> None:
    """As where somebody has copied what was set aside back by hand."""
    folder = tmp_path / "stage2"
    work(folder, FIRST)
    work(folder, SECOND)
    (aside,) = tmp_path.glob("stage2-????????")
    folder.rename(tmp_path / "second")
    shutil.copytree(aside, folder)
    work(folder, SECOND)
    assert names(aside) == names(aside.with_name(f"{aside.name}-2"))


def test_a_folder_without_work_is_no_other_recipes(tmp_path: Path) -> None:
    folder = tmp_path / "stage1"
    with claimed_folder(folder, FIRST):
        pass
    with claimed_folder(folder, SECOND):
        assert names(folder) == {"key.json"}
    assert names(tmp_path) == {"stage1", ".stage1.lock"}


def test_a_folder_that_does_not_say_its_recipe_is_kept(tmp_path: Path) -> None:
    (tmp_path / "stage1").mkdir()
    (tmp_path / "stage1" / "weights").touch()
    work(tmp_path / "stage1", FIRST)
    assert names(tmp_path / "stage1-unknown") == {"weights"}


def test_a_recipe_has_a_folder_of_its_own_where_the_run_holds_another(tmp_path: Path) -> None:
    folder = tmp_path / "stage2"
    assert recipe_folder(folder, FIRST) == folder
    work(folder, FIRST)
    assert recipe_folder(folder, FIRST) == folder
    other = recipe_folder(folder, SECOND)
    assert other.parent == tmp_path and other.name.startswith("stage2-")
    work(other, SECOND)
    with claimed_folder(folder, SECOND) as complete:
        assert complete, "a later claim takes up what was made beside it"


def test_a_failure_before_any_work_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wrong"), claimed_folder(tmp_path / "stage1", FIRST):
        raise ValueError("wrong")
    assert names(tmp_path) == set()
    with pytest.raises(ValueError, match="late"), claimed_folder(tmp_path / "stage1", FIRST):
        (tmp_path / "stage1" / "checkpoint").touch()
        raise ValueError("late")
    assert names(tmp_path / "stage1") == {"key.json", "checkpoint"}


def test_what_has_lost_an_output_is_not_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "stage1"
    with claimed_folder(folder, FIRST):
        (folder / "weights").touch()
        write_json(
            folder / "manifest.json",
            {"outputs": {"w": {"path": "elsewhere/weights", "sha256": sha256_bytes(b"")}}},
        )
    with claimed_folder(folder, FIRST) as complete:
        assert complete
    (folder / "weights").unlink()
    with claimed_folder(folder, FIRST) as complete:
        assert not complete
        assert names(folder) == {"key.json"}
    assert capsys.readouterr().err == f"{folder}: weights is gone and is made again\n"


def test_what_is_damaged_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "stage1"
    whole = {"sha256": sha256_bytes(b"whole")}
    outputs = {name: {"path": f"stage1/{name}"} | whole for name in ("weights", "train_log.jsonl")}
    for damaged in ("weights", "train_log.jsonl", "complete.json", "key.json"):
        with claimed_folder(folder, FIRST):
            for name in outputs:
                (folder / name).write_bytes(b"whole")
            write_json(folder / "manifest.json", {"outputs": outputs, "key": FIRST})
        (folder / "manifest.json").unlink()
        (folder / damaged).write_bytes(bytes(5))
        capsys.readouterr()
        with claimed_folder(folder, FIRST) as complete:
            assert complete == (damaged == "key.json"), "the manifest tells the key, too"
        told = capsys.readouterr().err
        assert complete or told == f"{folder}: {damaged} is damaged and is made again\n"
        assert names(tmp_path) == {".stage1.lock", "stage1"}, "nothing was set aside"

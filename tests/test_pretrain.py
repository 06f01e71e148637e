"""Making the tiny base model: a phase is taken up again by its own recipe alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from support.repository import TINY_MODEL
from vovnet.config import merge, validate
from vovnet.training import pretrain as pretrain_module
from vovnet.training.pretrain import pretrain

RECIPE: dict[str, Any] = {
    "training": {"batch_size": 2, "save_every": 1},
    "pretraining": {
        "first": {"num_samples": 4, "templates": {"recall": 1}, "view_shares": [1, 0, 0]},
        "second": {"num_samples": 2, "templates": {"sum": 1}, "view_shares": [1, 0, 0]},
    },
}
"""Two steps, then one, on questions without pictures."""


class KillError(Exception):
    """Stands for a kill between two steps."""


@pytest.fixture(autouse=True)
def _made_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's model stands for random weights, which take a tokenizer longer to make."""
    monkeypatch.setattr(
        pretrain_module,
        "write_tiny_model",
        lambda folder, seed: shutil.copytree(TINY_MODEL, folder, dirs_exist_ok=True),
    )


def steps_of(
    folder: Path, changes: dict[str, Any] | None = None, kill_at: int | None = None
) -> list[tuple[int, int]]:
    """Which steps, of how many, a call of the changed recipe takes."""
    taken: list[tuple[int, int]] = []

    def on_step(done: int, total: int) -> None:
        taken.append((done, total))
        if done == kill_at:
            raise KillError

    try:
        model = pretrain(validate(merge(RECIPE, changes or {}), "recipe"), folder, on_step)
    except KillError:
        return taken
    assert model == folder / "second/model"
    assert (model / "pretraining.json").exists()
    return taken


def test_a_phase_is_run_again_where_its_recipe_or_its_start_changed(tmp_path: Path) -> None:
    first, second = [(1, 2), (2, 2)], [(1, 1)]
    assert steps_of(tmp_path, kill_at=1) == first[:1]
    of_first = {"pretraining": {"first": {"learning_rate": 1e-5}}}
    assert steps_of(tmp_path, of_first) == first + second, "no step of the other recipe counts"
    assert steps_of(tmp_path, of_first) == []
    assert steps_of(tmp_path) == first[1:] + second, "the killed one goes on, from another start"
    of_second = {"pretraining": {"second": {"templates": {"sum": 1, "recall": 1}}}}
    assert steps_of(tmp_path, of_second) == second
    shutil.rmtree(tmp_path / "first/model")
    damaged = tmp_path / "second/model/model.safetensors"
    before = damaged.read_bytes()
    damaged.write_bytes(before[:-1])
    assert steps_of(tmp_path, of_second) == [], "exported again from the weights that are there"
    assert damaged.read_bytes() == before

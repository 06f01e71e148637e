"""What an experiment did beside what it was asked, as a table and as a command."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from support.replays import World
from vovnet import cli
from vovnet.config import yaml_text
from vovnet.core.files import write_text
from vovnet.data.samples import read_samples


@pytest.fixture(scope="module")
def config(evaluated: World, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("joined") / "config.yaml"
    write_text(path, yaml_text(evaluated[0].model_dump()))
    return str(path)


def test_every_row_of_the_csv_has_its_question_gold_and_pictures(
    evaluated: World, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, layout = evaluated
    assert cli.main(["samples", "--config", config, "vovnet", "--csv"]) == 0
    rows = pd.read_csv(io.StringIO(capsys.readouterr().out), dtype=str, keep_default_na=False)
    stored = pd.read_parquet(layout.eval("vovnet") / "samples.parquet")
    assert len(rows) == len(stored) == 2 * 2 * 600 * 6  # sets, seeds, questions, points
    key = ["dataset", "seed", "point", "id"]
    merged = rows.merge(stored.astype(dict.fromkeys(key, str)), on=key, suffixes=("", "_stored"))
    assert len(merged) == len(rows)
    assert (merged["prediction"] == merged["prediction_stored"]).all()
    samples = {
        (name, sample.id): sample
        for name in settings.data.eval_sets
        for sample in read_samples(layout.samples(name, "dev"))
    }
    for _, row in rows.iloc[::977].iterrows():
        sample = samples[row["dataset"], row["id"]]
        assert row["question"] == sample.question
        assert row["gold"] == f"{sample.answer}: {sample.answer_text}"
        assert row["choices"].splitlines()[1] == "B. green"
        assert Path(row["images"]) == layout.data(row["dataset"]) / "images/a.png"
    right = rows["prediction"] == rows["gold"].str[3:]
    assert (right == (rows["score"].astype(float) == 1)).all()


def test_people_are_shown_the_first_rows(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["samples", "--config", config, "vovnet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 20 + 1
    assert "What colour is object 0?" in lines[2]
    assert cli.main(["samples", "--config", config, "nothing"]) == 2
    assert "no experiment named 'nothing'" in capsys.readouterr().err

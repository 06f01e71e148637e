"""Tables of our own keep their types: names that look like numbers, and tables without a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from vovnet.evaluation.columns import (
    HULL_FILES,
    read_columns,
    read_results,
    result_columns,
    write_csv,
)

NAMES = ("NA", "007", "nan", "null", "None", "1e5", "True", "inf", "0", "1.0", "N-A", "a.b")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_back_as_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    columns = result_columns(["no", "coarse", "full"])
    row = dict.fromkeys(columns) | {"experiment": name, "dataset": name, "run": name, "seed": 0}
    write_csv(path, [row], columns)
    found = read_results(path)
    assert found[["experiment", "dataset", "run"]].iloc[0].tolist() == [name] * 3
    assert found["seed"].dtype == int and found["accuracy"].dtype == float
    assert found["baseline_name"].tolist() == [""] and found["scoring"].isna().all()


@pytest.mark.parametrize("file", HULL_FILES)
def test_an_empty_table_has_the_types_of_a_full_one(file: str, tmp_path: Path) -> None:
    columns = HULL_FILES[file]
    row = {name: "x" if name in text_columns(columns) else 0.5 for name in columns}
    row |= {"within_range": True} if "within_range" in columns else {}
    write_csv(tmp_path / "full.csv", [row], columns)
    write_csv(tmp_path / "empty.csv", [], columns)
    full, empty = (read_columns(tmp_path / f"{name}.csv", columns) for name in ("full", "empty"))
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    empty.merge(full, on=["dataset", *({"run"} & set(columns))])


def text_columns(columns: tuple[str, ...]) -> set[str]:
    texts = {"dataset", "experiment", "role", "title", "run", "unit", "at", "reference"}
    texts |= {"verdict", "rule", "stratum"}
    return {name for name in columns if name in texts or name.startswith("reference_")}

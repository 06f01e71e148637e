"""What must not grow faster than its inputs: counted here, timed by `workflow/bench_growth.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.replays import GRADED, write_world
from support.repository import ROOT
from vovnet.config import Settings, experiments, run_settings, validate
from vovnet.core import records
from vovnet.core.arrays import unit_codes, unit_minima, unit_sums
from vovnet.core.layout import Layout
from vovnet.core.records import read_table, write_table, writing_table
from vovnet.core.resampling import Resamples
from vovnet.data.samples import SampleFile
from vovnet.evaluation.columns import read_results
from vovnet.evaluation.ground import changes
from vovnet.evaluation.questions import load_questions
from vovnet.policies.router import fit_groups
from workflow.bench_growth import Size, fabricate, run_step

COLUMNS = {"id": pa.string(), "seed": pa.int64()}


def parts(count: int) -> list[pd.DataFrame]:
    return [
        pd.DataFrame({"id": [f"{seed}-{row}" for row in range(300)], "seed": seed})
        for seed in range(count)
    ]


def test_a_table_in_parts_is_the_same_table_and_is_never_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, small, large = (tmp_path / name for name in ("whole", "small", "large"))
    write_table(whole, pd.concat(parts(5)), COLUMNS)
    with writing_table(small, COLUMNS) as add:
        for part in parts(5):
            add(part)
    assert small.read_bytes() == whole.read_bytes()
    monkeypatch.setattr(records, "GROUP_ROWS", 500)
    with writing_table(large, COLUMNS) as add:
        for part in parts(5):
            add(part)
    written = pq.ParquetFile(large).metadata
    assert [written.row_group(row).num_rows for row in range(3)] == [600, 600, 300]
    assert read_table(large, COLUMNS).equals(read_table(whole, COLUMNS))
    chosen = read_table(large, COLUMNS, ["id"], {"seed": 3})
    assert chosen["id"].tolist() == parts(4)[3]["id"].tolist()


def test_groups_are_found_in_one_pass() -> None:
    class Uncompared(np.ndarray):
        """Names of which each comparison with all of them would cost a pass."""

        def __eq__(self, other: object) -> Any:
            raise AssertionError("a pass for each group")

    known = np.array([f"group {row % 50}" for row in range(200)], dtype=object)
    scores_NA = np.arange(600.0).reshape(200, 3)
    router = fit_groups(known.view(Uncompared), scores_NA, 2 * scores_NA)
    assert router.means["group 7"][0].tolist() == scores_NA[7::50].mean(axis=0).tolist()
    assert len(router.means) == 50


def test_who_owns_a_first_stage_is_asked_of_each_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {f"run{number}": {"training": {"stage1_epochs": number % 3 + 1}} for number in range(30)}
    settings = validate({"runs": runs}, "test")
    asked: list[str] = []

    def counting(settings: Settings, run: str) -> Settings:
        asked.append(run)
        return run_settings(settings, run)

    monkeypatch.setattr(experiments, "run_settings", counting)
    owners = experiments.stage1_owners(settings)
    assert owners == {f"run{number}": f"run{number % 3}" for number in range(30)}
    assert asked == [*runs]


def test_a_sample_is_read_once_to_be_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, layout = write_world(tmp_path, {"graded": GRADED}, [0], count=50)
    read: list[int] = []
    sample = SampleFile.sample
    monkeypatch.setattr(
        SampleFile, "sample", lambda file, row: (read.append(row), sample(file, row))[1]
    )
    assert len(load_questions(settings, layout, "graded").samples) == 50
    assert read == [*range(50)]


def test_the_benchmark_of_growth_makes_up_a_suite_that_is_evaluated(tmp_path: Path) -> None:
    config = fabricate(Size(sets=1, seeds=1, experiments=5, questions=40), tmp_path)
    run_step("evaluate", config)
    results = Layout(tmp_path / "results").eval("oracle") / "results.csv"
    assert read_results(results)["num_samples"].tolist() == [40]


def test_the_peak_of_memory_is_that_of_the_process_itself() -> None:
    """A process is started by one that holds 300 MiB more."""
    command = [sys.executable, "-c", "from workflow.bench_prepare import peak_mib as p; print(p())"]
    held = bytearray(b"1") * (300 << 20)
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(held) and float(told) < 200


@pytest.mark.parametrize("num_clusters", [7, 60, 200])
def test_what_is_added_up_where_it_changes_is_what_is_added_up_everywhere(
    num_clusters: int,
) -> None:
    """To the last bit, of questions of several passes, in clusters of one and of many."""
    rng = np.random.default_rng(num_clusters)
    units_N = unit_codes(rng.integers(200, size=300).tolist())
    codes_U = unit_codes(rng.integers(num_clusters, size=units_N.max() + 1).tolist())
    resamples = Resamples.draw(codes_U, 40, 0)
    starts_NK = np.sort(rng.integers(1, 90, size=(300, 2)), axis=1)
    piece_NP = (starts_NK[:, :, None] <= np.arange(80)).sum(axis=1, dtype=np.int16)
    scores_NJ, costs_NJ = rng.integers(11, size=(300, 3)) / 10, rng.random((300, 3)) * 1e9
    everywhere = [np.take_along_axis(told, piece_NP, axis=1) for told in (scores_NJ, costs_NJ)]
    by_row, by_unit = changes(piece_NP, units_N, codes_U)
    dense = unit_minima(everywhere[0], units_N), unit_sums(everywhere[1], codes_U[units_N])
    assert (by_unit.totals_of_minima(scores_NJ).dense == unit_sums(dense[0], codes_U)).all()
    assert (by_row.totals(costs_NJ).dense == dense[1]).all()
    found = resamples.means_of(
        (by_unit.totals_of_minima(scores_NJ), None), (by_row.totals(costs_NJ), units_N)
    )
    expected = resamples.means_of((dense[0], None), (everywhere[1], units_N))
    assert all((own == other).all() for own, other in zip(found, expected, strict=True))

"""Tables, figures and sanity checks over the results of a small suite."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image

from support.replays import EVEN, GRADED, forget_outputs
from support.reports import LIVE, write_keys, write_suite
from support.repository import ROOT
from vovnet.config import Settings, merge, validate, yaml_text
from vovnet.core.errors import ConfigError, DataError, VovnetError
from vovnet.core.files import read_json, write_json, write_text
from vovnet.core.layout import Layout
from vovnet.core.records import write_table
from vovnet.evaluation import columns
from vovnet.evaluation.columns import (
    BY_TEXT,
    SAMPLE_RESULT_COLUMNS,
    Column,
    read_columns,
    read_results,
    write_results,
)
from vovnet.evaluation.hull_metrics import hull_metrics
from vovnet.report import discovery, render
from vovnet.report.checks import all_rules, write_sanity
from vovnet.report.discovery import discover, made_by
from vovnet.report.figures import (
    accuracy_cost,
    action_ratio,
    frontier_of,
    profiling,
    write_figures,
)
from vovnet.report.inputs import load_inputs, of, over_seeds
from vovnet.report.render import DASH, MINUS, number
from vovnet.report.style import WIDTHS_IN, draw_and_save, paper_style
from vovnet.report.tables import main_table, write_tables
from vovnet.report.training_logs import load_train_log
from vovnet.views import DEFAULT_ACTIONS

pytestmark = pytest.mark.slow

World = tuple[Settings, Layout]
SETS = {"NA": GRADED, "007": EVEN}
"""Names that a CSV file does not tell from a missing value and from a number."""

SEEDS = [0, 1, 2]
SMALL = {"training": {"save_every": 50}, "eval": {"bootstrap_samples": 100}}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Results of which no report was written yet."""
    return write_suite(tmp_path_factory.mktemp("suite"), SETS, SEEDS, 150, SMALL)


def copy(suite: World, root: Path, changes: dict[str, Any] | None = None) -> World:
    """The suite in a folder of its own, with other settings."""
    settings, layout = suite
    shutil.copytree(layout.root, root, dirs_exist_ok=True)
    value = merge(settings.model_dump(), {"results_dir": str(root)} | (changes or {}))
    return validate(value, "test"), Layout(root)


@pytest.fixture(scope="module")
def finished(suite: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The results with every report written."""
    settings, layout = copy(suite, tmp_path_factory.mktemp("finished"))
    write_tables(settings, layout)
    write_figures(settings, layout)
    write_sanity(settings, layout)
    return settings, layout


@pytest.fixture
def results(suite: World, tmp_path: Path) -> World:
    """A copy of the results to be spoiled."""
    return copy(suite, tmp_path / "results")


def checked(layout: Layout) -> dict[str, dict[str, Any]]:
    """name -> check, of the report that was written."""
    found = read_json(layout.paper / "sanity.json")
    return {check["name"]: check for check in found}


# ---- tables ------------------------------------------------------------------------------


def test_every_table_has_four_forms(finished: World) -> None:
    _, layout = finished
    files = made_by("vovnet.report.tables")
    assert len(files) == 4 * 13
    assert all((layout.paper / name).stat().st_size > 0 for name in files)
    tex = (layout.paper / "main_table.tex").read_text()
    assert r"\toprule" in tex
    assert r"\bottomrule" in tex
    assert not set(tex) & set("±λ↑↓→∞<"), "TeX symbols are written as commands"
    assert r"\textbf{VoVNet} & \textbf{" in tex and "longtable" not in tex


def test_the_main_table_has_a_row_per_dataset_and_method(
    finished: World,
) -> None:
    settings, layout = finished
    rows = read_columns(layout.paper / "main_table.csv", ())
    replayed = [name for name, item in settings.experiments.items() if item.mode == "replay"]
    assert len(rows) == len(SETS) * (len(replayed) + 1)
    assert not rows.duplicated(["dataset", "experiment"]).any()
    vovnet, by_text = (of(rows, experiment=name) for name in ("vovnet", BY_TEXT))
    assert (vovnet["lambda_cost"] == settings.report.target_lambda).all()
    # What the text could reach stands at VoVNet's cost, last of its dataset.
    assert by_text["avg_cost_mean"].tolist() == pytest.approx(vovnet["avg_cost_mean"].tolist())
    assert rows.drop_duplicates("dataset", keep="last")["experiment"].tolist() == [BY_TEXT] * 2
    assert by_text[["gain_tokens", "gain_flops", "accuracy_lo"]].notna().all(axis=None)


def test_the_main_table_averages_over_seeds(finished: World) -> None:
    settings, layout = finished
    table = main_table.table(load_inputs(settings, layout)).numbers
    row = table[(table["dataset"] == "NA") & (table["experiment"] == "always_full")]
    results = read_results(layout.eval("always_full") / "results.csv")
    accuracies = results.loc[results["dataset"] == "NA", "accuracy"]
    assert row["accuracy_mean"].item() == pytest.approx(accuracies.mean())
    assert row["accuracy_sd"].item() == pytest.approx(accuracies.std(ddof=1))
    assert row["num_seeds"].item() == len(SEEDS)


def test_hull_metrics_has_a_row_per_dataset_policy_and_seed(
    finished: World,
) -> None:
    settings, layout = finished
    rows = read_columns(layout.paper / "hull_metrics.csv", ())
    assert rows["unit"].value_counts().to_dict() == {
        "tokens": len(rows) / 2,
        "flops": len(rows) / 2,
    }
    rows = rows[rows["unit"] == "tokens"]
    replayed = [name for name, item in settings.experiments.items() if item.mode == "replay"]
    assert len(rows) == len(SETS) * len(SEEDS) * len(replayed)
    source = read_columns(layout.hull / "hull_metrics.csv", ())
    keys = {"dataset": "NA", "experiment": "vovnet", "seed": 1, "unit": "tokens"}
    found = [
        frame.loc[(frame[list(keys)] == pd.Series(keys)).all(axis=1)] for frame in (rows, source)
    ]
    assert found[0]["gain_at_50"].item() == pytest.approx(found[1]["gain_at_50"].item())
    assert set(rows.loc[rows["experiment"] == "vovnet", "policy"]) == {"vovnet"}


def test_what_was_not_measured_is_empty_never_zero(finished: World) -> None:
    _, layout = finished
    rows = read_columns(layout.paper / "pareto.csv", ())
    assert rows.loc[rows["mode"] == "replay", "latency_p50_ms_mean"].isna().all()
    assert rows.loc[rows["mode"] == "live", "latency_p50_ms_mean"].notna().all()
    lines = (layout.paper / "pareto.md").read_text().splitlines()
    assert DASH in next(line for line in lines if "always_full" in line)


def test_equal_results_give_equal_tables_and_figures(finished: World, results: World) -> None:
    """Two figures, which have lines, markers, bands, bars and hatches."""
    settings, layout = results
    write_tables(settings, layout)
    inputs, figures = load_inputs(settings, layout), layout.paper / "figures"
    for module in (accuracy_cost, action_ratio):
        draw_and_save(module.figure, inputs, figures, module.__name__.rpartition(".")[2])
    first = finished[1].paper
    names = [path for path in layout.paper.rglob("*") if path.suffix not in {".json", ""}]
    assert len([path for path in names if path.parent == figures]) == 8 and len(names) > 50
    for path in names:
        assert path.read_bytes() == (first / path.relative_to(layout.paper)).read_bytes(), path


def test_over_seeds_by_hand() -> None:
    frame = pd.DataFrame({"seed": [0, 1, 0], "name": ["a", "a", "b"], "value": [1.0, 3.0, 5.0]})
    found = over_seeds(frame, ["name"], ["value"])
    assert found["value_mean"].tolist() == [2.0, 5.0]
    assert found["value_sd"].iloc[0] == pytest.approx(2**0.5)
    assert np.isnan(found["value_sd"].iloc[1]), "one seed has no deviation"


def test_a_seed_without_a_value_leaves_the_mean_empty() -> None:
    """It would be a mean over one of two seeds; what no seed has is empty, too."""
    frame = pd.DataFrame({"seed": [0, 1], "name": ["a", "a"], "all": [1.0, 3.0]})
    frame = frame.assign(one=[1.0, np.nan], none=np.nan, setting=[np.nan, 2.0])
    found = over_seeds(frame, ["name"], ["all", "one", "none"], ["setting"]).iloc[0]
    assert found["num_seeds"] == 2 and found["all_mean"] == 2.0
    empty = ["one_mean", "one_sd", "none_mean", "none_sd", "setting"]
    assert found[empty].isna().all()


def test_numbers_for_people() -> None:
    assert number(-1.25) == f"{MINUS}1.2"
    assert number(-0.01) == "0.0"
    assert number(float("nan")) == DASH


# ---- figures -----------------------------------------------------------------------------


def test_every_figure_is_a_pdf_and_a_png(finished: World) -> None:
    figures = finished[1].paper / "figures"
    stems = {path.stem for path in figures.glob("*.png")}
    assert {"accuracy_cost", "action_ratio", "resolution_test", "profiling"} <= stems
    assert stems == {path.stem for path in figures.glob("*.pdf")}
    assert {stem for stem in stems if stem.endswith("_column")} == {
        f"{stem}_column" for stem in stems if not stem.endswith("_column")
    }
    for path in figures.glob("*.png"):
        with Image.open(path) as picture:
            assert picture.width == (990 if path.stem.endswith("_column") else 2100), "at 300 dpi"


@pytest.mark.parametrize("width_in", WIDTHS_IN.values())
def test_nothing_is_cut_off_from_a_figure_of_either_width(finished: World, width_in: float) -> None:
    with paper_style(width_in):
        figure = accuracy_cost.figure(load_inputs(*finished))
        figure.draw_without_rendering()
    shown, box = figure.get_tightbbox(), figure.bbox_inches
    assert shown.x0 >= -0.01 and shown.x1 <= box.x1 + 0.01
    assert shown.y0 >= -0.01 and shown.y1 <= box.y1 + 0.01
    sizes = {text.get_fontsize() for text in figure.findobj(Text)}
    assert min(sizes) >= 7 and figure.legends[0].get_window_extent().width <= figure.bbox.width


def test_the_curve_of_vovnet_is_its_whole_frontier(finished: World) -> None:
    """Beyond the points of its sweep, and as far as its dearest seed goes."""
    inputs = load_inputs(*finished)
    drawn = frontier_of(inputs, "NA", "vovnet", "tokens")["cost"]
    rows = of(inputs.curves, dataset="NA", experiment="vovnet")
    ends = rows["avg_cost"].min(), rows["avg_cost"].max()
    assert (drawn.min(), drawn.max()) == pytest.approx(ends)
    swept = of(inputs.points, dataset="NA", experiment="vovnet")["avg_vision_tokens"]
    assert drawn.min() < swept.min() and drawn.max() >= swept.max()


def test_a_torn_last_line_of_a_log_is_dropped(finished: World) -> None:
    settings, layout = finished
    log = load_train_log(load_inputs(settings, layout), "vovnet", list(SEEDS))
    assert log.groupby(["seed", "folder_stage"]).size().tolist() == [200] * 6


# ---- sanity ------------------------------------------------------------------------------


def test_every_check_is_reported_with_its_numbers(finished: World) -> None:
    _, layout = finished
    found = checked(layout)
    assert len(found) == len(all_rules())
    text = (layout.paper / "sanity.md").read_text()
    for name, check in found.items():
        assert name in text
        assert check["numbers"]
        if check["kind"] == "invariant":
            assert check["passed"] is not False, check
    assert found["Always-Full takes FULL for every question"]["passed"]
    assert found["avg_cost decreases as lambda_cost increases"]["passed"]


def spoil_results(experiment: str, **values: float) -> Callable[[Layout], None]:
    def spoil(layout: Layout) -> None:
        path = layout.eval(experiment) / "results.csv"
        rows = read_results(path).assign(**values)
        write_results(path, rows.to_dict("records"), DEFAULT_ACTIONS)
        forget_outputs(path.with_name("summary.json"))

    return spoil


def spoil_live(layout: Layout) -> None:
    path = layout.eval(LIVE) / "samples.parquet"
    rows = pd.read_parquet(path)
    write_table(path, rows.assign(prediction="other"), SAMPLE_RESULT_COLUMNS)
    forget_outputs(path.with_name("summary.json"))


def spoil_leakage(layout: Layout) -> None:
    report = read_json(layout.leakage_report)
    report["sets"]["NA"]["image"]["count"] = 2
    write_json(layout.leakage_report, report)


def spoil_key(layout: Layout) -> None:
    path = layout.eval("oracle") / "summary.json"
    write_json(path, {"key": read_json(path)["key"] | {"config": "of before"}})


def spoil_reuse(layout: Layout, different: int = 1, device: str = "cpu") -> None:
    path = layout.eval(LIVE) / "summary.json"
    summary = read_json(path) | {"device": device}
    for item in summary["profile"]:
        item["cache_reuse_comparison"]["num_different"] = different
        item["num_samples"] = 100
    write_json(path, summary)


BROKEN = {
    "every result was made from the present configuration": spoil_key,
    "Always-Full takes FULL": spoil_results("always_full", action_rate_full=0.9),
    "No-Vision costs 0": spoil_results("no_vision", avg_cost=0.5),
    "the oracle is at least as accurate": spoil_results("oracle", accuracy=0.1),
    "live equals replay": spoil_live,
    "with and without cache reuse the generated tokens": spoil_reuse,
    "the leakage gate finds nothing": spoil_leakage,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_invariant_fails_the_command(finished: World, tmp_path: Path, name: str) -> None:
    settings, layout = copy(finished, tmp_path / "results")
    assert (layout.paper / "sanity.md").exists()
    BROKEN[name](layout)
    with pytest.raises(VovnetError, match=name):
        write_sanity(settings, layout)
    assert not (layout.paper / "sanity.md").exists()
    text = (layout.paper / "sanity.failed.md").read_text()
    results = re.findall(r"^\| .* \| \w+ \| (\*\*FAIL\*\*|not run|pass) \| .+ \|$", text, re.M)
    assert len(results) == len(all_rules())
    assert results == sorted(results, key=["**FAIL**", "not run", "pass"].index), "failures first"
    assert results[0] == "**FAIL**" and not re.search("  |-{4}", text), "no padding"


@pytest.mark.parametrize(
    ("different", "dtype", "device", "passed"),
    [(1, "float32", "H100", True), (2, "float32", "H100", False), (1, "bfloat16", "cpu", True)],
)
def test_elsewhere_a_few_answers_may_differ(
    suite: World, tmp_path: Path, different: int, dtype: str, device: str, passed: bool
) -> None:
    settings, layout = copy(suite, tmp_path, {"model": {"dtype": dtype}})
    write_keys(settings, layout)
    spoil_live(layout)
    spoil_reuse(layout, different, device)
    write_sanity(settings, layout)
    found = checked(layout)
    for name, held in (
        ("live equals replay, sample by sample", False),
        ("with and without cache reuse the generated tokens are the same", passed),
    ):
        assert found[f"{name} (float32 on the CPU)"]["passed"] is None
        assert found[f"{name}, 99.0% or more (elsewhere)"]["passed"] is held


def test_observed_elsewhere_is_not_replayed_exactly(results: World) -> None:
    settings, layout = results
    spoil_live(layout)
    for path in layout.observations("vovnet", 0, "NA").parent.glob("*/actions.manifest.json"):
        write_json(path, read_json(path) | {"device": "H100"})
    write_sanity(settings, layout)
    found = checked(layout)
    assert found["live equals replay, sample by sample (float32 on the CPU)"]["passed"] is None


def test_a_missed_expectation_is_only_reported(results: World) -> None:
    settings, layout = results
    spoil_results("always_full", accuracy=0.5)(layout)
    write_sanity(settings, layout)
    check = checked(layout)["FULL answers 85% or more"]
    assert check["passed"] is False
    assert "50.0%" in check["numbers"]


def test_missing_or_wrong_results_are_one_clear_error(results: World) -> None:
    settings, layout = results
    path = layout.eval("oracle") / "results.csv"
    write_text(path, "experiment,dataset\n")
    forget_outputs(path.with_name("summary.json"))
    with pytest.raises(DataError, match=r"oracle/results.csv: column 'run' is missing"):
        write_tables(settings, layout)
    path.unlink()
    with pytest.raises(DataError, match=r"oracle/results.csv: file not found"):
        write_tables(settings, layout)


def test_a_target_lambda_outside_the_sweep_is_an_error(results: World) -> None:
    settings, layout = results
    report = settings.report.model_copy(update={"target_lambda": 0.3})
    with pytest.raises(ConfigError, match=r"report.target_lambda: 0.3 is not a point"):
        write_tables(settings.model_copy(update={"report": report}), layout)


def test_the_report_needs_no_torch() -> None:
    names = ("tables", "figures", "checks", "reliability", "ablations")
    code = "import sys\nfrom vovnet.report.discovery import load\n"
    code += "".join(f"load('vovnet.report.{name}')\n" for name in names)
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- extending ---------------------------------------------------------------------------

TABLE = '''"""The number of questions per dataset."""

from vovnet.report import render
from vovnet.report.inputs import Inputs, operating_points
from vovnet.report.render import Table

ORDER = 15


def table(inputs: Inputs) -> Table:
    rows = operating_points(inputs)
    columns = render.method(inputs.settings, rows) | render.value(rows, "num_samples")
    return Table("How many questions there are.", rows, columns)
'''
FIGURE = '''"""Nothing but an empty panel."""

from matplotlib.figure import Figure

from vovnet.report.inputs import Inputs
from vovnet.report.style import panel_grid


def figure(inputs: Inputs) -> Figure:
    made, _ = panel_grid(1, height_in=1)
    return made
'''
CHECKS = '''"""A check of a block of its own."""

from vovnet.report.checks import Finding, Rules

RULES = Rules()


@RULES.expectation("mine", "there are results")
def there_are_results(inputs):
    yield Finding("all", len(inputs.points) > 0, f"{len(inputs.points)} rows")
'''
WRITE = """
import sys
from pathlib import Path
from vovnet.config import load
from vovnet.core.layout import Layout
from vovnet.report.checks import all_rules
from vovnet.report.figures import write_figures
from vovnet.report.tables import write_tables
settings = load([sys.argv[1]])
layout = Layout(Path(settings.results_dir))
write_tables(settings, layout)
write_figures(settings, layout)
print(all_rules()[-1].name)
"""


def run_python(code: str, source: Path, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    environment = os.environ | {"PYTHONPATH": str(source)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_table_a_figure_and_a_check_take_one_file_each(results: World, tmp_path: Path) -> None:
    settings, layout = results
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src/vovnet", source / "vovnet", ignore=shutil.ignore_patterns("*.pyc"))
    for path in (source / "vovnet/report/figures").glob("[a-z]*.py"):
        path.unlink()  # the others take most of the time
    for kind, code in {"tables": TABLE, "figures": FIGURE, "checks": CHECKS}.items():
        (source / f"vovnet/report/{kind}/new_{kind}.py").write_text(code)
    config = tmp_path / "config.yaml"
    config.write_text(yaml_text(settings.model_dump(mode="json")))
    assert run_python(WRITE, source, str(config)) == "there are results\n"
    names = {path.name for path in layout.paper.iterdir()}
    assert {f"new_tables{suffix}" for suffix in (".csv", ".md", ".tex")} <= names
    assert "| Questions" in (layout.paper / "new_tables.md").read_text()
    assert (layout.paper / "figures/new_figures.pdf").exists()
    made = "from vovnet.report.discovery import made_by\nprint(made_by('vovnet.report.tables'))"
    files = run_python(made, source)
    assert files.index("main_table.csv") < files.index("new_tables.csv") < files.index("pareto.csv")


def test_planning_imports_no_table() -> None:
    code = "import sys\nfrom vovnet.report.discovery import made_by\n"
    code += "made_by('vovnet.report.tables') + made_by('vovnet.report.reliability')\n"
    code += "print({'pandas', 'matplotlib'} & set(sys.modules))"
    assert run_python(code, ROOT / "src") == "set()\n"


def test_a_module_that_makes_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "ROOT", tmp_path)
    (tmp_path / "report").mkdir()
    (tmp_path / "report/wrong.py").write_text("TABLE = 1\n")
    with pytest.raises(VovnetError, match=r"wrong\.py: expected a function `table` or `figure`"):
        discover("vovnet.report")


def test_a_results_column_takes_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Column("avg_looks", "Looks", digits=2, better="lower")
    monkeypatch.setattr(columns, "RESULTS", (*columns.RESULTS, looks))
    monkeypatch.setitem(columns.CATALOGUE, "avg_looks", looks)
    path = tmp_path / "results.csv"
    write_results(path, [{"experiment": "a", "seed": 0, "avg_looks": 1.25}], ["no", "full"])
    rows = read_results(path)
    assert rows["avg_looks"].tolist() == [1.25]
    assert [name for name in rows if name.startswith("action_rate_")] == [
        "action_rate_no",
        "action_rate_full",
    ]
    written = render.value(rows, "avg_looks")
    assert {heading: list(texts) for heading, texts in written.items()} == {"Looks ↓": ["1.25"]}


def test_a_setting_of_a_plug_in_fills_a_column_of_its_own(results: World, tmp_path: Path) -> None:
    settings, layout = results
    path = layout.eval("resolution") / "results.csv"
    rows = read_results(path).assign(sharpness=0.5).to_dict("records")
    write_results(path, rows, DEFAULT_ACTIONS)
    forget_outputs(path.with_name("summary.json"))
    names = list(read_results(path))
    assert names.index("max_pixels") + 1 == names.index("sharpness")
    write_tables(settings, layout)
    table = read_columns(layout.paper / "pareto.csv", ()).set_index("experiment")["sharpness"]
    assert (table["resolution"] == 0.5).all() and table.drop("resolution").isna().all()


def test_a_report_without_a_live_experiment_is_written(results: World) -> None:
    """What is told of live runs is then a table without a row, and no figure."""
    settings, layout = results
    value = settings.model_dump()
    shown = ("vovnet", "always_full", "always_coarse", "no_vision")
    value["experiments"] = {name: value["experiments"][name] for name in shown}
    few = validate(value, "test")
    hull_metrics(few, layout)
    write_tables(few, layout)
    write_sanity(few, layout)
    rows = read_columns(layout.paper / "profiling.csv", ("dataset", "latency_p50_ms"))
    assert rows.empty
    assert profiling.figure(load_inputs(few, layout)) is None

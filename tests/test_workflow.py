"""The DAG: dry runs of every configuration, and what runs again after a change."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vovnet.config import load, merge, read_yaml, validate  # noqa: E402
from vovnet.errors import ConfigError  # noqa: E402
from workflow.helpers import Plan  # noqa: E402
from workflow.schema import SCHEMA_PATH, schema_text  # noqa: E402

PROJECT = ("Snakefile", "rules", "workflow", "profiles", "slurm", "config", "envs", "src")
CONFIGS = ("config.yaml", "test.yaml", "paper.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project without results."""
    folder = tmp_path_factory.mktemp("project")
    for name in PROJECT:
        source = ROOT / name
        if source.is_symlink() or source.is_file():
            shutil.copy2(source, folder / name, follow_symlinks=False)
        else:
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Rule -> number of jobs of a dry run."""
    result = snakemake(folder, "--dry-run", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    text = result.stdout + result.stderr
    assert "Job stats:" in text or "Nothing to be done" in text, text
    stats = text.partition("Job stats:")[2].partition("total ")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}


# ---- dry runs --------------------------------------------------------------------------


def test_the_embedded_suite_is_the_default(project: Path) -> None:
    jobs = planned(project)
    settings = load([ROOT / "config" / "config.yaml"])
    assert jobs["all"] == 1
    assert jobs["train_stage1"] == len(settings.seeds), "ablations share stage 1"
    assert jobs["train_stage2"] == len(settings.seeds) * len(settings.runs)
    assert jobs["evaluate"] + jobs["live"] == len(settings.experiments)


def test_paper_tables_train_no_ablation(project: Path) -> None:
    settings = load([ROOT / "config" / "config.yaml"])
    jobs = planned(project, "paper_tables")
    assert jobs["train_stage1"] == jobs["train_stage2"] == len(settings.seeds)
    assert jobs["evaluate"] + jobs["live"] == len(settings.targets["paper"])
    jobs = planned(project, "ablations")
    assert jobs["train_stage1"] == len(settings.seeds)
    assert jobs["train_stage2"] == len(settings.seeds) * len(settings.runs)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_experiment_has_its_targets(name: str) -> None:
    """Nothing is forgotten: `full` is everything, `paper` all but the ablations and one pair."""
    settings = load([ROOT / "config" / name])
    expected = {"mvp", "full", "paper", "generalization", "ablations", "reliability"}
    assert expected | {"profiling", "oracle"} == set(settings.targets)
    assert settings.targets["full"] == list(settings.experiments)
    left_out = set(settings.experiments) - set(settings.targets["paper"])
    ablations = set(settings.targets["ablations"]) - {"pareto_vovnet"}
    assert left_out == ablations | {"cache_reuse"}
    assert {settings.experiments[item].run for item in ablations} == set(settings.runs) - {"vovnet"}


def test_the_test_suite_scatters_and_gathers(project: Path) -> None:
    jobs = planned(project, "paper_tables", "--configfile", "config/test.yaml")
    assert jobs["observe"] == 2 * jobs["gather"]
    assert jobs["tables"] == jobs["figures"] == jobs["sanity"] == jobs["hull_metrics"] == 1


def test_the_paper_suite_needs_no_data_to_be_planned(project: Path) -> None:
    jobs = planned(project, "all", "--configfile", "config/paper.yaml")
    assert jobs["train_stage1"] == 3, "recipes that differ in stage 2 share stage 1"
    assert jobs["train_stage2"] == 21


def test_the_slurm_profile_is_found(project: Path) -> None:
    assert planned(project, "--profile", "slurm", "all")["all"] == 1


def test_a_target_of_the_configuration_is_a_target_of_the_dag(project: Path) -> None:
    jobs = planned(project, "mvp")
    assert jobs["mvp"] == 1
    assert jobs["evaluate"] == 4
    assert "tables" not in jobs


def test_a_configuration_without_experiments_is_layered_on_the_default(project: Path) -> None:
    (project / "overlay.yaml").write_text("seeds: [0]\n")
    jobs = planned(project, "--configfile", "overlay.yaml", "--config", "quick=200")
    assert jobs["train_stage1"] == 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("polcy=1", "polcy: unknown key"),
        ("seeds=3", "seeds: Input should be a valid list, got 3"),
        ("quick=0", "quick: Input should be greater than 0, got 0"),
    ],
)
def test_a_wrong_configuration_is_one_line(project: Path, argument: str, message: str) -> None:
    result = snakemake(project, "--dry-run", "--config", argument)
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if "error" in line.lower()]
    assert errors == [f"vovnet: error: config/config.yaml: {message}"]
    assert "Traceback" not in result.stderr


def test_snakemake_finds_nothing_to_complain_about(project: Path) -> None:
    result = snakemake(project, "--lint")
    assert result.returncode == 0, result.stdout + result.stderr


# ---- what runs again -------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which every output of the test suite exists and is up to date."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(project, folder, symlinks=True)
    summary = snakemake(folder, "--summary", "all", "--configfile", "config/test.yaml")
    assert summary.returncode == 0, summary.stderr
    outputs = [Path(line.split("\t")[0]) for line in summary.stdout.splitlines()[1:]]
    for path in outputs:
        if path.name == "figures":
            (folder / path).mkdir(parents=True)
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(f"{path}\n")
    raw = folder / "results/test/raw"
    for path in (raw / "synth_mmmu/Art/validation-0.parquet", raw / "synth_llava/images/1.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raw\n")
        os.utime(path, (1, 1))
    result = snakemake(folder, "--touch", "all", "--configfile", "config/test.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
    assert planned(folder, "all", "--configfile", "config/test.yaml") == {}
    return folder


def append(name: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(path.read_text() + text)

    return change


RAW = "results/test/raw"
SHARED = {"all", "hull_metrics", "tables", "figures", "sanity"}
REPORTS = {"reliability_report", "ablation_table"}
RESULTS = SHARED | REPORTS | {"error_slices"}
DOWNSTREAM = {"observe", "gather", "evaluate", "match", "live"} | RESULTS
CHANGES: dict[str, tuple[Callable[[Path], None], list[str], set[str]]] = {
    "comment": (append("src/vovnet/records.py", "# a comment\n"), [], set()),
    "table": (append("src/vovnet/report/tables.py", "EDITED = 1\n"), [], {"tables", "all"}),
    "decision": (
        append("src/vovnet/commands/evaluate.py", "EDITED = 1\n"),
        [],
        {"evaluate", "match"} | RESULTS,
    ),
    "lambda": (
        lambda folder: None,
        ["report={target_lambda: 0.1}"],
        SHARED | {"reliability_report"},
    ),
    "evaluation split": (
        append(f"{RAW}/synth_textvqa/TextVQA_0.5.1_val.json", " "),
        [],
        {"prepare", "leakage"} | DOWNSTREAM,
    ),
    "globbed file": (
        append(f"{RAW}/synth_mmmu/Art/validation-0.parquet", " "),
        [],
        {"prepare", "leakage"} | DOWNSTREAM,
    ),
    "training image": (
        append(f"{RAW}/synth_llava/images/1.png", " "),
        [],
        {"prepare", "leakage", "train_stage1", "train_stage2"} | DOWNSTREAM,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_only_what_a_change_touches_runs_again(finished: Path, tmp_path: Path, name: str) -> None:
    change, config, expected = CHANGES[name]
    folder = tmp_path / "project"
    shutil.copytree(finished, folder, symlinks=True)
    change(folder)
    arguments = ["all", "--configfile", "config/test.yaml"]
    jobs = planned(folder, *arguments, *(["--config", *config] if config else []))
    assert set(jobs) == expected
    if "prepare" in jobs:
        assert jobs["prepare"] == 1


# ---- the plan --------------------------------------------------------------------------


def plan(change: dict[str, Any] | None = None, config: str = "test.yaml") -> Plan:
    value = merge(read_yaml(ROOT / "config" / config), change or {})
    return Plan(validate(value, "test"))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_has_a_plan(name: str) -> None:
    assert plan(config=name).experiments("replay")


def test_the_gpus_of_a_job_are_the_processes_of_its_training() -> None:
    with pytest.raises(ConfigError, match=r"gpu is 4 and training.num_processes .* is 8"):
        plan({"resources": {"train": {"gpu": 4}}}, "paper.yaml")
    made = plan(config="paper.yaml")
    wildcards = SimpleNamespace(run="vovnet", seed="0")
    assert "--num_processes 8" in made.launcher(wildcards, {"gpu": 8})
    with pytest.raises(ConfigError, match="may use 2 GPUs"):
        made.launcher(wildcards, {"gpu": 2})


def test_resources_name_gpus_only_where_there_are_some() -> None:
    assert set(plan().resources("train")) == {"mem_mb", "runtime"}
    paper = plan(config="paper.yaml")
    assert paper.resources("train")["gpu"] == 8
    assert paper.resources("train")["nodes"] == 1
    assert "nodes" not in paper.resources("observe")


@pytest.mark.parametrize("name", ["../evil", "a b", "", "_hull"])
def test_names_are_safe_as_paths(name: str) -> None:
    with pytest.raises(ConfigError, match="experiments"):
        plan({"experiments": {name: {"title": "x"}}})


def test_the_router_set_is_no_evaluation_set() -> None:
    with pytest.raises(ConfigError, match="router_fit"):
        plan({"data": {"eval_sets": {"router_fit": {"dataset": "synth_mmbench", "split": "dev"}}}})


# ---- generated files -------------------------------------------------------------------


def test_the_stored_schema_is_the_settings() -> None:
    assert SCHEMA_PATH.read_text() == schema_text(), "run `make schema`"


def test_the_conda_environment_has_the_pinned_versions() -> None:
    pinned = re.findall(r"^[\w.-]+==\S+$", (ROOT / "envs/requirements.txt").read_text(), re.M)
    conda = re.findall(r"^ +- (\S+==\S+)$", (ROOT / "envs/environment.yaml").read_text(), re.M)
    assert conda == pinned


def test_every_requirement_is_pinned() -> None:
    names = set((ROOT / "envs/requirements.in").read_text().split())
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "envs/requirements.txt").read_text(), re.M)
    )
    assert names <= set(pinned)

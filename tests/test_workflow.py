"""The DAG: dry runs of every configuration, and what runs again after a change."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.projects import CONFIGS, copy_project, needed, planned, snakemake
from support.repository import ROOT
from vovnet.config import load
from vovnet.config.experiments import report_experiments, target_experiments, trained_runs
from vovnet.pipeline.keys import step_digest
from workflow import machine

pytestmark = pytest.mark.slow

# ---- dry runs --------------------------------------------------------------------------


def test_the_embedded_suite_is_the_default(project: Path) -> None:
    jobs = planned(project)
    settings = load([ROOT / "config" / "config.yaml"])
    assert jobs["all"] == 1
    assert jobs["train_stage1"] == len(settings.seeds), "ablations share stage 1"
    assert jobs["train_stage2"] == len(settings.seeds) * len(trained_runs(settings))
    assert jobs["evaluate"] == len(settings.experiments)
    reports = [jobs[rule] for rule in ("hull_metrics", "tables", "figures", "sanity", "page")]
    assert reports == [3, 3, 3, 3, 3], "the paper, the whole suite, and what needs no training"
    assert jobs["reliability_report"] == 2


def test_paper_tables_train_no_ablation(project: Path) -> None:
    settings = load([ROOT / "config" / "config.yaml"])
    jobs = needed(project, "paper_tables")
    assert jobs["train_stage1"] == jobs["train_stage2"] == len(settings.seeds)
    assert jobs["evaluate"] == len(target_experiments(settings, "paper"))
    jobs = needed(project, "ablations")
    assert jobs["train_stage1"] == len(settings.seeds)
    assert jobs["train_stage2"] == len(settings.seeds) * len(trained_runs(settings))


def test_what_needs_no_training_is_reported_by_itself(project: Path) -> None:
    """The packaged model is observed as it is: on its sets, and where heads are fitted."""
    settings = load([ROOT / "config" / "config.yaml"])
    jobs = needed(project, "training_free")
    assert not [rule for rule in jobs if rule.startswith("train_") or rule == "live"]
    assert jobs["observe"] == len(settings.data.eval_sets) + 1
    assert jobs["evaluate"] == len(target_experiments(settings, "training_free"))
    assert jobs["tables"] == jobs["hull_metrics"] == jobs["reliability_report"] == 1
    for name in ("base_8b.yaml", "single_gpu.yaml"):
        jobs = needed(project, "training_free", f"config/{name}")
        assert not [rule for rule in jobs if rule.startswith("train_") or rule == "live"]
        assert jobs["tables"] == jobs["sanity"] == jobs["reliability_report"] == 1


@pytest.mark.parametrize("name", CONFIGS)
def test_every_experiment_has_its_targets(name: str) -> None:
    """`full` is everything; `paper` leaves the ablations, the orders of the prompt and further
    profiles out, and on the laptop the reduced views, for the sake of its time, and of what needs
    no training all but the untouched model at FULL."""
    settings = load([ROOT / "config" / name])
    targets = {target: set(target_experiments(settings, target)) for target in settings.targets}
    free = targets.pop("training_free", set()) - {"base_always_full"}
    orders = targets.pop("prompt_order", set()) - targets["paper"]
    expected = {"mvp", "full", "paper", "generalization", "reduction", "ablations"}
    assert expected | {"reliability", "profiling", "oracle"} == set(targets)
    assert targets["full"] == set(settings.experiments)
    left_out = set(settings.experiments) - targets["paper"]
    ablations = targets["ablations"] - targets["paper"]
    reduced = targets["reduction"] - targets["mvp"]
    slow = reduced if name == "config.yaml" else set()
    further = {"cache_reuse", "profile_cascade_coarse_full"} & set(settings.experiments)
    assert left_out == ablations | further | slow | free | orders
    trained = set(trained_runs(settings))
    assert {settings.experiments[item].run for item in targets["ablations"]} <= trained
    shown = targets["ablations"] | orders
    assert {settings.experiments[item].run for item in shown} >= trained


def test_the_test_suite_scatters_and_gathers(project: Path) -> None:
    jobs = needed(project, "paper_tables", "config/test.yaml")
    assert jobs["observe"] == 2 * jobs["gather"]
    assert jobs["tables"] == jobs["figures"] == jobs["sanity"] == jobs["hull_metrics"] == 1


def test_the_paper_suite_needs_no_data_to_be_planned(project: Path) -> None:
    jobs = needed(project, "all", "config/paper.yaml")
    # Three seeds of what most recipes share, one in the other order, and one on FULL alone.
    assert jobs["train_stage1"] == 5, "recipes that differ in stage 2 share stage 1"
    assert jobs["train_stage2"] == 3 * 7 + 3, (
        "two further lambdas and the other order have one seed"
    )
    assert jobs["tables"] == 2, "the paper shows no ablation"


def test_bench_and_the_document_are_targets_of_their_own(project: Path) -> None:
    """Both take their part of the suite, and no other target takes them."""
    test = "config/test.yaml"
    bench, document = needed(project, "bench", test), needed(project, "paper_pdf", test)
    assert (bench["bench"], bench["train_stage2"]) == (1, 1)
    assert (document["paper_pdf"], document["tables"]) == (1, 1)
    assert needed(project, "bench_gpu", test) == {"bench_gpu": 1}
    assert not {"bench", "bench_gpu", "paper_pdf"} & needed(project, "all", test).keys()


def test_a_dataset_of_the_hub_is_fetched_once_for_all_its_splits(project: Path) -> None:
    (project / "hub.yaml").write_text(
        "data: {datasets: {textvqa: {source: hub, repo_id: org/textvqa}}}\n"
    )
    jobs = needed(project, "all", "config/paper.yaml", "hub.yaml")
    assert (jobs["fetch_textvqa"], jobs["prepare"]) == (1, 7)


def test_the_slurm_profile_is_found(project: Path) -> None:
    jobs = planned(project, "--profile", "slurm", "all")
    assert jobs["train_stage2"] == 24, "the 8B suite, unless told otherwise"
    told = planned(project, "--profile", "slurm", "all", "--configfile", "config/test.yaml")
    assert told["train_stage2"] == 4


def test_the_box_profile_is_found(project: Path) -> None:
    assert planned(project, "--profile", "profiles/box", "all")["all"] == 1


def test_without_slurm_one_line_says_what_is_missing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("bash", "env", "sh", "which"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = snakemake(project, "--profile", "slurm", "all")
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("vovnet: error")]
    assert len(errors) == 1
    assert errors[0].startswith(
        "vovnet: error: --profile slurm: this machine has no sbatch, squeue, scancel: "
    )


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 0", None),
        ("echo 7; echo 8", "2 Slurm jobs of an earlier call are still at work there"),
        ("echo 'squeue: error: Unable to contact slurmctld' >&2; exit 1", "Unable to contact"),
    ],
)
def test_jobs_of_an_earlier_call_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str | None
) -> None:
    """Their name is forgotten only where Slurm says that there are none."""
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\n{script}\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    machine.check_earlier_jobs(tmp_path, "first")
    record = tmp_path / ".slurm-jobs"
    if message is None:
        machine.check_earlier_jobs(tmp_path, "second")
        assert record.read_text() == "second"
        return
    with pytest.raises(SystemExit, match=message) as ended:
        machine.check_earlier_jobs(tmp_path, "second")
    assert len(str(ended.value).splitlines()) == 1
    assert record.read_text() == "first"


def test_a_target_of_the_configuration_is_a_target_of_the_dag(project: Path) -> None:
    jobs = needed(project, "mvp")
    assert jobs["mvp"] == 1
    assert jobs["evaluate"] == 4
    assert "tables" not in jobs


def test_a_configuration_is_layered_on_the_default(project: Path) -> None:
    """A stanza extends the suite, joins its lists, and is a target by its name."""
    (project / "overlay.yaml").write_text(
        "seeds: [0]\n"
        "experiments:\n"
        "  mine: {title: Mine, policy: {baseline_name: always_coarse}, targets: [mvp, paper]}\n"
    )
    assert needed(project, "all", "overlay.yaml", quick=200)["train_stage1"] == 1
    assert needed(project, "mvp", "overlay.yaml")["evaluate"] == 5
    alone = planned(project, "mine", "--configfile", "overlay.yaml")
    assert (alone["mine"], alone["evaluate"], alone["leakage"]) == (1, 1, 1)
    default = load([ROOT / "config/config.yaml"])
    layered = load([ROOT / "config/config.yaml", project / "overlay.yaml"])
    gate = [step_digest(settings, "leakage") for settings in (default, layered)]
    assert gate[0] == gate[1], "its report is that of the whole suite"
    assert "mine" in report_experiments(layered)


@pytest.mark.parametrize(
    ("stanza", "message"),
    [
        ("tables", "experiments.tables: the name is that of a rule, choose another one"),
        ("mvp", "targets.mvp: an experiment has this name, and is not in the list: choose another"),
    ],
)
def test_a_name_of_two_things_is_one_line(project: Path, stanza: str, message: str) -> None:
    (project / "clash.yaml").write_text(f"experiments: {{{stanza}: {{title: Mine}}}}\n")
    result = snakemake(project, "--dry-run", "--configfile", "clash.yaml")
    assert result.returncode == 1
    (error,) = [line for line in result.stderr.splitlines() if "error" in line.lower()]
    assert error.startswith(f"vovnet: error: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config", "quick=0"],
            "config/config.yaml: quick: Input should be greater than 0, got 0",
        ),
        (["mpv"], "mpv: there is no such target, did you mean mvp?"),
        (["--directory", "profiles"], "config/config.yaml: file not found in "),
        (
            ["--directory", "profiles", "--configfile", "config/test.yaml"],
            "runs.vovnet: model.base_model_name: there is no folder 'src/vovnet/assets/tiny",
        ),
    ],
)
def test_a_wrong_call_is_one_line(project: Path, arguments: list[str], message: str) -> None:
    result = snakemake(project, "--dry-run", *arguments)
    assert result.returncode == 1
    (error,) = [line for line in result.stderr.splitlines() if "error" in line.lower()]
    assert error.startswith(f"vovnet: error: {message}")
    assert "Traceback" not in result.stderr
    assert not (project / "profiles/results").exists()


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (lambda path: None, ": file not found"),
        (Path.mkdir, ": Is a directory, expected a YAML file"),
        (os.mkfifo, ": expected a YAML file, and this is a pipe or a device"),
        (lambda path: path.write_bytes(b"a: 1\nb: \xd0"), ", line 2: not valid UTF-8"),
        (lambda path: path.write_text("a: 1\nb: [1\n"), ", line 3: expected ',' or ']'"),
        (lambda path: path.write_text("- a\n"), ": expected a mapping of keys, got list"),
        (Path.touch, ": expected a mapping of keys, got nothing"),
        (lambda path: path.write_text("d: 2026-99-99\n"), ": no valid YAML (month must be"),
        (lambda path: path.write_bytes(b"a: \x01\n"), ": no valid YAML ("),
    ],
)
def test_a_configuration_that_snakemake_cannot_read_is_one_line(
    project: Path, tmp_path: Path, made: Callable[[Path], object], fault: str
) -> None:
    made(path := tmp_path / "mine.yaml")
    configs = ["--configfile", "config/test.yaml", str(path)]
    result = snakemake(project, "--dry-run", *configs, "--config", "quick=3")
    assert result.returncode == 2
    assert result.stderr.startswith(f"vovnet: error: {path}{fault}")
    assert result.stderr.count("\n") == 1


def test_a_file_in_the_place_of_a_folder_of_results_is_one_line(
    project: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    copy_project(folder, project)
    (folder / "results/provenance").mkdir(parents=True)
    (folder / "results/provenance/jobs").touch()
    result = snakemake(folder, "--dry-run")
    assert result.returncode == 1
    assert "vovnet: error: results/provenance/jobs: File exists" in result.stderr
    assert "Traceback" not in result.stderr


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
            told = path.suffix == ".json" and ("raw" not in path.parts or "manifest" in path.name)
            (folder / path).write_text("{}" if told else f"{path}\n")
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


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert text.count(old) == 1, (name, old)
        path.write_text(text.replace(old, new))

    return change


def comments(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            append(name, "# a comment\n")(folder)

    return change


def together(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    """Changes of which none hides another: they touch nothing, different rules, or other jobs."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


EDIT = "EDITED = 1\n"
RAW = "results/test/raw"
SHARED = {"all", "hull_metrics", "tables", "figures", "sanity", "page"}
REPORTS = {"reliability_report", "ablation_table"}
RESULTS = SHARED | REPORTS | {"error_slices"}
DOWNSTREAM = {"observe", "gather", "evaluate", "match", "live"} | RESULTS
EVALUATION = {"evaluate", "match"} | RESULTS
TRAINING = {"train_stage1", "train_stage2"}
CHANGES: dict[str, tuple[Callable[[Path], None], list[str], set[str]]] = {
    "comments, infrastructure and a module that no rule imports": (
        together(
            comments("src/vovnet/core/records.py", "src/vovnet/report/figures/reduced_views.py"),
            append("src/vovnet/training/pretrain.py", EDIT),
            append("src/vovnet/core/files.py", EDIT),
        ),
        [],
        set(),
    ),
    "figure and table": (
        together(
            append("src/vovnet/report/figures/reduced_views.py", EDIT),
            append("src/vovnet/report/tables/oracle.py", EDIT),
        ),
        [],
        {"figures", "tables", "page", "all"},
    ),
    "figure style": (
        append("src/vovnet/report/style.py", EDIT),
        [],
        {"figures", "page", "reliability_report", "all"},
    ),
    "scorer": (append("src/vovnet/evaluation/scoring/textvqa.py", EDIT), [], EVALUATION),
    "decision": (append("src/vovnet/evaluation/experiment.py", EDIT), [], EVALUATION),
    "a new evaluation set, which the gate reads": (
        lambda folder: None,
        ["data={eval_sets: {again: {dataset: synth_mmbench, split: dev}}}"],
        {"leakage"} | DOWNSTREAM - TRAINING,
    ),
    "target lambda": (
        lambda folder: None,
        ["report={target_lambda: 0.1}"],
        SHARED | REPORTS,
    ),
    "lambda list": (
        replace(
            "config/test.yaml",
            "error_slices: true\n    sweep: {lambda_cost: [0, 0.02,",
            "error_slices: true\n    sweep: {lambda_cost: [0, 3, 0.02,",
        ),
        [],
        EVALUATION,
    ),
    "experiment that the paper does not show": (
        replace(
            "config/test.yaml",
            "run: binary\n    role: vovnet\n    sweep: {lambda_cost: [0, 0.02, 0.1]}",
            "run: binary\n    role: vovnet\n    sweep: {lambda_cost: [0, 0.02, 0.5]}",
        ),
        [],
        {"evaluate", "ablation_table"} | SHARED,
    ),
    "threshold list": (
        replace("config/test.yaml", "baseline_threshold: [0.1,", "baseline_threshold: [0.2,"),
        [],
        {"evaluate"} | SHARED,
    ),
    "reduced view": (
        replace("config/test.yaml", "baseline_pool_factor: [2]", "baseline_pool_factor: [2, 4]"),
        [],
        {"observe", "gather", "evaluate"} | SHARED,
    ),
    "objective": (append("src/vovnet/training/objective.py", EDIT), [], TRAINING | DOWNSTREAM),
    "setting of the objective": (
        lambda folder: None,
        ["policy={entropy_weight: 2.0}"],
        {"train_stage2"} | DOWNSTREAM,
    ),
    "two evaluation splits, of which one is a globbed file": (
        together(
            append(f"{RAW}/synth_textvqa/TextVQA_0.5.1_val.json", " "),
            append(f"{RAW}/synth_mmmu/Art/validation-0.parquet", " "),
        ),
        [],
        {"prepare", "leakage"} | DOWNSTREAM,
    ),
    "a training image and a training split": (
        together(
            append(f"{RAW}/synth_llava/images/1.png", " "),
            append(f"{RAW}/synth_textvqa/TextVQA_0.5.1_train.json", " "),
        ),
        [],
        {"prepare", "leakage"} | TRAINING | DOWNSTREAM,
    ),
}
REPORT_OF_ALL = {"evaluate": 1, "tables": 1, "figures": 1, "hull_metrics": 1, "sanity": 1}
REPORT_OF_ALL |= {"page": 1}
TWO_SETS = {"prepare": 2, "observe": 24, "gather": 12}
"""Jobs of two evaluation sets: two recipes of two seeds, each observed in two shards, and further
views of the first recipe."""

COUNTS: dict[str, dict[str, int]] = {
    "scorer": {"evaluate": 23},
    "lambda list": {"evaluate": 3, "match": 2},  # the sweep, and the policies matched to it
    "threshold list": {"evaluate": 1, "tables": 2},
    "a new evaluation set, which the gate reads": {"observe": 12, "evaluate": 23},
    "experiment that the paper does not show": REPORT_OF_ALL,
    "setting of the objective": {"train_stage2": 4},
    "two evaluation splits, of which one is a globbed file": TWO_SETS,
    "a training image and a training split": {"prepare": 2},
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
    for rule, count in COUNTS.get(name, {}).items():
        assert jobs[rule] == count, rule


# ---- GPUs of this machine --------------------------------------------------------------

TRAINING = "results/paper_suite/runs/vovnet/seed0/stage1/manifest.json"


@pytest.mark.parametrize("limit", [[], ["--resources", "gpu=2"]])
def test_a_rule_that_asks_for_more_gpus_than_there_are_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, limit: list[str]
) -> None:
    monkeypatch.setenv("GPU_LEASES_PRETEND", "2")
    result = snakemake(project, TRAINING, "--configfile", "config/paper.yaml", *limit)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if "error" in line.lower()]
    rule = "rule train_stage1 asks for 4 GPUs (see resources in the configuration), but there are 2"
    assert errors == [f"vovnet: error: {rule}"]
    assert not (project / "results/paper_suite/data").exists(), "nothing was run before"


OBSERVE = """

FLAGS = [Flag(f"--{name}") for name in ("config", "run", "seed", "dataset", "shard")]

@command("pretend", *FLAGS, Flag("--views", nargs="+"))
def observe(args: Namespace) -> None:
    import time
    from pathlib import Path
    from vovnet.core.layout import Layout

    time.sleep(0.5)
    shard = args.shard.split("/")
    group = "views" if args.views else "actions"
    layout = Layout(Path("results/test"))
    folder = layout.shard(args.run, args.seed, args.dataset, group, *shard)
    (folder / "manifest.json").write_text("{}")
"""


def test_no_more_jobs_start_than_there_are_gpus(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the trainings, which are finished, would need more."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("GPU_LEASES_PRETEND", "4")
    monkeypatch.setenv("GPU_LEASES", str(tmp_path / "leases"))
    folder = tmp_path / "project"
    shutil.copytree(finished, folder, symlinks=True)
    (folder / "gpus.yaml").write_text(
        "training: {num_processes: 8}\n"
        "resources: {train: {gpu: 8}, observe: {gpu: 1}}\n"
        "seeds: [0]\n"
    )
    suite = ("mvp", "--configfile", "config/test.yaml", "gpus.yaml")
    assert snakemake(folder, "--touch", *suite).returncode == 0
    with (folder / "src/vovnet/commands/steps.py").open("a") as file:
        file.write(OBSERVE)
    forced = ("--forcerun", "observe", "--until", "observe", "--cores", "16")
    result = snakemake(folder, *suite, *forced)
    assert result.returncode == 0, result.stderr
    running, most = 0, 0
    for started in re.findall(
        r"^local(rule) observe:$|^Finished .*observe\)$", result.stderr, re.M
    ):
        running += 1 if started else -1
        most = max(most, running)
    assert most == 4, result.stderr
    assert running == 0

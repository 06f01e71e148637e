"""The plan of the DAG: what its rules ask for, and the command lines of its jobs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake.iocontainers import Wildcards

from support.projects import CONFIGS, plan
from vovnet import cli
from vovnet.core.errors import ConfigError

JOB = Wildcards(fromdict={"run": "vovnet", "seed": "0"})


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_has_a_plan(name: str) -> None:
    made = plan(config=name)
    assert made.experiments("replay")
    for report in made.reports:
        assert made.report_inputs(Wildcards(fromdict={"report": report}))


def test_a_target_lambda_that_nothing_is_evaluated_at_is_told_before_any_job() -> None:
    """Of what tables, slices and ablations show; what follows no lambda has no such point."""
    paper = Wildcards(fromdict={"report": "paper"})
    made = plan({"report": {"target_lambda": 0.3}})
    for inputs in (made.report_inputs, made.reliability_inputs, made.ablation_inputs):
        with pytest.raises(SystemExit, match=r"target_lambda: 0\.3 is not a point .*pareto_vovnet"):
            inputs(paper)
    base = plan({"report": {"target_lambda": 0.3}}, "base_8b.yaml")
    assert base.report_inputs(paper)
    with pytest.raises(SystemExit, match=r"not a point of experiment 'text_first_probe'"):
        slices = {"experiments": {"probe": {"error_slices": False}}}
        plan({"report": {"target_lambda": 0.25}} | slices, "base_8b.yaml").reliability_inputs(paper)


def test_the_gpus_of_a_job_are_the_processes_of_its_training() -> None:
    with pytest.raises(ConfigError, match=r"gpu is 2 and training.num_processes .* is 4"):
        plan({"resources": {"train": {"gpu": 2}}}, "paper.yaml")
    made = plan(config="paper.yaml")
    launcher = made.launcher("train", "{run}", "seed{seed}", "stage1")
    assert "--num_processes 4" in launcher(JOB, {"gpu": 4}, 32)
    with pytest.raises(SystemExit, match=r"^vovnet: error: .* may use 2 GPUs"):
        launcher(JOB, {"gpu": 2}, 32)


def test_resources_name_gpus_only_where_there_are_some() -> None:
    assert set(plan().resources("train")) == {"mem_mb", "runtime"}
    paper = plan(config="paper.yaml")
    assert paper.resources("train")["gpu"] == 4
    assert paper.resources("train")["nodes"] == 1
    assert "nodes" not in paper.resources("observe")


def test_a_second_attempt_of_training_fits_the_node_of_the_first() -> None:
    paper = plan(config="paper.yaml")
    asked = {kind: paper.resources(kind)["mem_mb"] for kind in ("train", "observe")}
    assert asked["train"](JOB, attempt=1) == asked["train"](JOB, attempt=2) == 128000
    assert asked["observe"](JOB, attempt=2) == 2 * asked["observe"](JOB, attempt=1)


def test_a_light_job_asks_for_more_where_its_inputs_are_large(tmp_path: Path) -> None:
    table, manifest = tmp_path / "no.parquet", tmp_path / "actions.manifest.json"
    for path, size in ((table, 300_000_000), (manifest, 0), (tmp_path / "weights", 9_000_000)):
        with path.open("wb") as file:
            file.truncate(size)
    told = [str(manifest), str(tmp_path / "not there yet")]
    light = plan({"resources": {"light": {"threads": 1}}}).resources("light")
    assert light["mem_mb"](JOB, attempt=1) == 1500 and light["runtime"](JOB, attempt=1) == 10
    assert light["mem_mb"](JOB, attempt=2, input=told) == 2 * (1500 + 300)
    assert light["runtime"](JOB, attempt=1, input=told) == 16
    assert plan().resources("light", streams=True)["mem_mb"](JOB, attempt=1, input=told) == 1500


def test_what_slurm_is_told_stands_in_the_configuration() -> None:
    train = {"partition": "gpu", "gpu_model": "h100"}
    told = {"resources": {"account": "paper", "train": train, "light": {"gpu_model": "h100"}}}
    made = plan(told, "paper.yaml")
    expected = {"slurm_account": "paper", "slurm_partition": "gpu", "gpu_model": "h100"}
    assert expected.items() <= made.resources("train").items()
    assert set(made.resources("light")) == {"mem_mb", "runtime", "slurm_account"}


@pytest.mark.parametrize("model", ["nvidia-h100", "h100:2", ""])
def test_a_gpu_model_that_the_slurm_plugin_refuses_is_refused_at_once(model: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.gpu_model: must be letters, .* by their part"):
        plan({"resources": {"train": {"gpu_model": model}}}, "paper.yaml")


@pytest.mark.parametrize("name", ["../evil", "a b", "", "_hull"])
def test_names_are_safe_as_paths(name: str) -> None:
    with pytest.raises(ConfigError, match="experiments"):
        plan({"experiments": {name: {"title": "x"}}})


def test_reduced_views_follow_from_the_experiments() -> None:
    reduced = plan()
    views = reduced.needed_views("vovnet", 0, "synth_mmbench")
    assert {"full+pool-2", "side-96", "full+prune-stride-0.5", "coarse+prune-stride-0.5"} <= set(
        views
    )
    assert reduced.needed_views("vovnet", 9, "synth_mmbench") == []
    manifest = reduced.observation("vovnet", 1, "synth_mmmu", "views")
    for name in reduced.experiments("replay"):
        reads = manifest in reduced.experiment_observations(name)
        assert reads == (
            name in {"pruning_stride", "token_merge", "resolution", "granularity"}
            or name == "vovnet_pruning"
        ), name


def test_a_reduced_view_without_its_setting_is_refused() -> None:
    stanza = {"title": "Resolution", "policy": {"baseline_name": "resolution_scaling_proxy"}}
    with pytest.raises(ConfigError, match=r"policy\.baseline_long_side: "):
        plan({"experiments": {"unset": stanza}})


def test_the_router_set_is_no_evaluation_set() -> None:
    with pytest.raises(ConfigError, match="router_fit"):
        plan({"data": {"eval_sets": {"router_fit": {"dataset": "synth_mmbench", "split": "dev"}}}})


def test_a_plan_of_an_unknown_target_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    assert cli.main(["plan", "no_such_target", "--gpus", "4"]) == 2
    errors = capsys.readouterr().err
    assert errors == "vovnet: error: no_such_target: there is no such target\n"
    monkeypatch.chdir(project / "config")
    assert cli.main(["plan", "--gpus", "4"]) == 2
    assert capsys.readouterr().err.startswith("vovnet: error: No Snakefile found")


def test_the_whole_suite_is_reported_where_the_paper_shows_a_part() -> None:
    made = plan()
    assert made.reports == ["paper", "suite"]
    assert "ablation_binary" not in made.reported["paper"]
    assert made.reported["suite"] == list(made.settings.experiments)
    files = {report: set(made.report_files(report)) for report in made.reports}
    assert not files["paper"] & files["suite"]
    assert set(made.report_files()) == files["paper"] | files["suite"]
    whole = Wildcards(fromdict={"report": "suite"})
    assert made.layout.eval("cache_reuse") / "results.csv" in made.report_inputs(whole)
    assert set(made.ablation_files) <= set(made.pdf_inputs(whole))
    assert plan({"report": {"target": None}}).reports == ["paper"]


# ---- command lines ----------------------------------------------------------------------


def test_a_command_runs_on_leased_gpus_where_it_asks_for_some() -> None:
    made = plan(config="paper.yaml")
    observe = made.leased("observe", "{run}", "seed{seed}")
    record = "results/paper_suite/benchmarks/observe/vovnet,seed0.gpu.json"
    lease = f"python -m vovnet lease --gpus 1 --record {record} -- "
    assert observe(JOB, {"gpu": 1}) == f"{lease}python -m vovnet"
    train = made.launcher("train", "{run}", "seed{seed}", "stage1")
    assert train(JOB, {"gpu": 4}, 32).startswith("python -m vovnet lease --gpus 4 --record ")
    small = plan().launcher("train", "{run}", "seed{seed}", "stage1")
    assert observe(JOB, {}) == small(JOB, {}, 1) == "python -m vovnet"


TWO_PROCESSES = {"training": {"num_processes": 2, "mixed_precision": "no"}}
USERS_FILE = """
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
gpu_ids: "0,1"
num_machines: 2
machine_rank: 1
main_process_ip: 10.0.0.1
num_processes: 4
"""
SHOW = """
import os
names = ("RANK", "WORLD_SIZE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
os.write(1, (" ".join(os.environ[name] for name in names) + "\\n").encode())
"""


@pytest.mark.parametrize("gpus", [0, 2])
def test_ranks_see_the_jobs_devices_and_share_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int
) -> None:
    """Whatever the user once answered to `accelerate config`."""
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "accelerate/default_config.yaml").write_text(USERS_FILE)
    (tmp_path / "show.py").write_text(SHOW)
    made = plan(TWO_PROCESSES | {"resources": {"train": {"gpu": gpus}}})
    line = made.launcher("train", "{run}", "seed{seed}", "stage1")(JOB, {"gpu": gpus}, 7)
    command = line.rpartition(" -- ")[2] if gpus else line
    command = re.sub(r"(-m (-- )?)vovnet$", r"\1show", command)
    environ = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(tmp_path),
        "HF_HOME": str(tmp_path),
        "OMP_NUM_THREADS": "7",
        "CUDA_VISIBLE_DEVICES": "4,5",
    }
    shown = subprocess.run(command, shell=True, env=environ, capture_output=True, text=True)
    assert sorted(shown.stdout.splitlines()) == ["0 2 3 4,5", "1 2 3 4,5"], shown.stderr

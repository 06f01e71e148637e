"""The whole DAG for real: undisturbed, killed again and again, changed when it has finished."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
import yaml

from support.projects import Project, keep_experiments
from vovnet.config import read_yaml

SMALL = """\
data: {synthetic: {num_eval_questions: 8, num_train_questions: 16}}
training: {batch_size: 4, calibration_samples: 4}
eval: {num_shards: 1, shard_rows: 4, bootstrap_samples: 50}
seeds: [0]
"""
KEPT = (
    *("pareto_vovnet", "always_full", "always_coarse", "no_vision", "pruning_stride", "resolution"),
    *("random_matched", "oracle", "bayes_router", "size_router", "fallback_full"),
    *("ablation_binary", "profile_vovnet", "cache_reuse"),
)
"""Every kind of job and of table. The others are evaluated in test_bench.py and test_live.py."""

KEPT_SETS = ("synth_mmbench", "synth_mmmu")
"""TextVQA is evaluated in test_specification.py and, through the DAG, in test_slurm.py."""

TABLES = ("main_table", "cross_benchmark", "pareto", "action_ratio", "hull_metrics")
TABLES += ("resolution_test", "oracle", "references", "strata", "against_vovnet")
TABLES += ("profiling", "deployable")
LIVE = "profile_vovnet"

pytestmark = pytest.mark.slow


def cut(project: Project, sets: Sequence[str]) -> None:
    """Leave other experiments and evaluation sets out; further views are shown on the last set."""
    suite = project.folder / "config/test.yaml"
    value = read_yaml(suite)
    keep_experiments(value, KEPT)
    value["data"]["eval_sets"] = {name: value["data"]["eval_sets"][name] for name in sets}
    for name in ("pruning_stride", "resolution"):
        value["experiments"][name]["datasets"] = [sets[-1]]
    suite.write_text(yaml.safe_dump(value, sort_keys=False))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, float]:
    """A finished project, and how many seconds it took."""
    project = Project(tmp_path_factory.mktemp("undisturbed"), "paper_tables")
    cut(project, KEPT_SETS)
    project.configure(SMALL)
    began = time.monotonic()
    project.finish()
    return project, time.monotonic() - began


def test_one_command_leaves_everything(undisturbed: tuple[Project, float]) -> None:
    project, _ = undisturbed
    paper = project.results / "paper"
    for table in TABLES:
        for suffix in (".csv", ".md", ".tex"):
            assert (paper / (table + suffix)).stat().st_size > 0
    for figure in ("accuracy_cost", "action_ratio"):
        for suffix in (".pdf", ".png"):
            assert (paper / "figures" / (figure + suffix)).stat().st_size > 0
    names = set(project.contents())
    assert "observations/vovnet/seed0/synth_mmmu/signals.parquet" in names
    assert "runs/vovnet/seed0/stage2/model.safetensors" in names
    assert f"eval/{LIVE}/samples.parquet" in names


def test_a_second_call_does_nothing(undisturbed: tuple[Project, float]) -> None:
    project, _ = undisturbed
    assert "Nothing to be done" in project.finish()


def test_killed_at_any_moment_it_finishes_with_the_same_bytes(
    undisturbed: tuple[Project, float], tmp_path: Path
) -> None:
    """Four kills: in the first jobs, amid training, amid observation, and at a random moment.

    The moments that wait for a file come before the random one, which may run past them.
    """
    whole, took_s = undisturbed
    project = Project(tmp_path, *whole.targets, root=whole.folder)
    project.configure(SMALL)
    rng = random.Random(20)

    def after(share: float) -> Callable[[], bool]:
        deadline = time.monotonic() + share * took_s
        return lambda: time.monotonic() > deadline

    def exists(pattern: str, unless: str) -> Callable[[], bool]:
        return lambda: any(project.results.glob(pattern)) and not any(project.results.glob(unless))

    stage2 = "runs/vovnet/seed0/stage2"
    shard = "observations/vovnet/seed0/*/shards/actions/0-of-1"
    kills = [
        project.kill_when(after(rng.uniform(0.02, 0.08))),
        project.kill_when(exists(f"{stage2}/checkpoint-*", f"{stage2}/manifest.json")),
        project.kill_when(exists(f"{shard}/block-000000.full.parquet", f"{shard}/manifest.json")),
    ]
    assert all(kills)
    project.kill_when(after(rng.uniform(0.05, 0.3)))
    project.finish()
    assert "Nothing to be done" in project.finish()
    expected, found = whole.contents(), project.contents()
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


# ---- changes of a finished suite ---------------------------------------------------------

RUN = "runs/vovnet/seed0"
WEIGHTS = "model.safetensors"
OTHER_RECIPE = SMALL + "policy: {entropy_weight: 2.0}\n"
RENAMED = {
    "src/vovnet/policies/__init__.py": ('"size_router":', '"image_size_router":'),
    "src/vovnet/policies/router.py": ('"size_router":', '"image_size_router":'),
    "config/test.yaml": ("baseline_name: size_router", "baseline_name: image_size_router"),
}


@pytest.fixture
def changed(undisturbed: tuple[Project, float], tmp_path: Path) -> Project:
    """A copy of the finished project, with what Snakemake remembers of it."""
    whole, _ = undisturbed
    shutil.copytree(whole.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", *whole.targets)


def written(project: Project) -> dict[str, tuple[bytes, int]]:
    """Stage -> the bytes of its weights and when they were written."""
    found = sorted((project.results / RUN).glob(f"stage*/{WEIGHTS}"))
    return {path.parent.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def training_log(project: Project) -> str:
    return (project.results / "logs/train/vovnet,seed0,stage2.log").read_text()


def test_weights_outlive_a_change_and_are_taken_up_again(changed: Project) -> None:
    """A policy's name trains nothing; another recipe is trained once, however often it changes."""
    before = written(changed)
    assert set(before) == {"stage1", "stage2"}
    changed.targets = ("size_router", "pareto_vovnet")

    for name, (old, new) in RENAMED.items():
        path = changed.folder / name
        assert path.read_text().count(old) == 1, name
        path.write_text(path.read_text().replace(old, new))
    assert "rule evaluate:" in changed.finish()
    assert written(changed) == before

    suite, changed.targets = changed.targets, (f"results/test/{RUN}/stage2/manifest.json",)
    changed.configure(OTHER_RECIPE)
    changed.finish()
    assert "set aside what another recipe made" in training_log(changed)
    (aside,) = set(written(changed)) - set(before)
    other = written(changed)["stage2"]
    assert written(changed) == before | {aside: before["stage2"], "stage2": other}
    assert other[0] != before["stage2"][0]

    changed.targets = suite
    changed.configure(SMALL)
    changed.finish()
    assert "took up again what this recipe made" in training_log(changed)
    (other_aside,) = set(written(changed)) - set(before)
    assert written(changed) == before | {other_aside: other}

    changed.configure(OTHER_RECIPE)
    changed.finish()
    assert written(changed) == before | {aside: before["stage2"], "stage2": other}
    assert "Nothing to be done" in changed.finish()


def test_a_new_evaluation_set_is_evaluated_in_the_same_call(changed: Project) -> None:
    """The leakage gate reads the evaluation sets, and does not end the call."""
    before = written(changed)
    changed.configure(
        SMALL.replace(
            "data: {", "data: {eval_sets: {again: {dataset: synth_mmbench, split: dev}}, "
        )
    )
    changed.targets = ("mvp",)
    changed.finish()
    for name in ("no_vision", "pareto_vovnet"):
        table = pd.read_csv(changed.results / f"eval/{name}/results.csv")
        assert "again" in set(table["dataset"])
    assert "Nothing to be done" in changed.finish()
    assert written(changed) == before


def test_copied_results_are_recognised(undisturbed: tuple[Project, float], tmp_path: Path) -> None:
    """In a clone without Snakemake's records, where every file is as new as any other."""
    whole, _ = undisturbed
    clone = Project(tmp_path / "clone", *whole.targets, root=whole.folder)
    clone.configure(SMALL)
    shutil.copytree(whole.results, clone.results, copy_function=shutil.copyfile, symlinks=True)
    assert "Nothing to be done" in clone.finish()
    assert clone.contents() == whole.contents()


def test_quick_results_lie_beside_the_full_ones(changed: Project) -> None:
    whole, before = changed.contents(), written(changed)
    changed.targets = ("no_vision", "--config", "quick=4")
    changed.finish()
    table = pd.read_csv(changed.results / "quick-4/eval/no_vision/results.csv")
    assert set(table["num_samples"]) == {4}
    assert changed.contents() == whole
    assert written(changed) == before
    changed.targets = ("paper_tables",)
    assert "Nothing to be done" in changed.finish()


# ---- actions of one's own ----------------------------------------------------------------

LIVE_EQUALS_REPLAY = "live equals replay, sample by sample (float32 on the CPU)"
ACTIONS = ["no", "side-64", "side-96", "full", "full+merge-cosine-0.5"]
FIVE_ACTIONS = (
    SMALL
    + """\
actions: [no, 64, 96, full, full+merge-cosine-0.5]
experiments:
  cascade: &cascade
    title: Small, then FULL where unsure
    targets: [paper, full]
    policy: {baseline_name: cascade, options: {views: [side-64, full], threshold: 0.5}}
  profile_cascade:
    <<: *cascade
    mode: live
    max_samples: 4
"""
)


def test_five_actions_by_configuration_alone(changed: Project) -> None:
    """Every experiment of the paper, live runs among them, and a policy that looks twice.

    Figures of other actions are drawn in test_report_actions.py.
    """
    cut(changed, ["synth_mmmu"])
    changed.configure(FIVE_ACTIONS)
    changed.targets = tuple(
        f"results/test/paper/{name}" for name in ("main_table.csv", "sanity.md")
    )
    changed.finish()
    tables = changed.results / "observations/vovnet/seed0/synth_mmmu"
    assert all((tables / f"{action}.parquet").exists() for action in ACTIONS)
    main = pd.read_csv(changed.results / "paper/main_table.csv")
    assert {"pareto_vovnet", "oracle", "random_matched", "cascade"} <= set(main["experiment"])
    assert {f"action_rate_{action}_mean" for action in ACTIONS} <= set(main)
    checks = json.loads((changed.results / "paper/sanity.json").read_text())
    (live,) = (item for item in checks if item["name"].startswith(LIVE_EQUALS_REPLAY))
    # Two live experiments, the one that looks twice among them.
    assert live["passed"] is True and live["numbers"].startswith("2 of 2 hold")

"""Files under config/ beside the suites of the DAG's tests: each loads, and says what it says."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.projects import needed
from support.repository import ROOT
from vovnet.commands.by_hand import checkpoint_settings
from vovnet.config import Settings, load, mmbench_part, run_settings
from vovnet.config.experiments import trained_runs
from vovnet.policies.experiments import head_experiments
from vovnet.views import num_vision_tokens

CONFIG = ROOT / "config"
PAPER = CONFIG / "paper.yaml"
SETS = {
    "eval_mmbench_dev_text": ["mmbench_dev"],
    "eval_mmbench_dev_text_fuzzy": ["mmbench_dev_fuzzy"],
    "eval_mmmu_text": ["mmmu_val"],
    "eval_textvqa": ["textvqa_val"],
    "eval_generalization_text": ["mmbench_dev", "mmmu_val", "textvqa_val"],
}
LAYERS = ("eval_single_gpu", "eval_quick_200")


def by_hand(
    *layers: str, sets: str | None = None, run: str = "", assignments: Sequence[str] = ()
) -> Settings:
    """The settings of a command by hand with these layers on the paper's suite."""
    args = argparse.Namespace(
        config=[PAPER, *(CONFIG / f"{name}.yaml" for name in layers)],
        dataset_config=[CONFIG / f"{sets}.yaml"] if sets else [],
        max_samples=None,
        gpus=None,
        set=assignments,
    )
    return checkpoint_settings(args, {}, {}, {"run": run, "seed": 0} if run else {})


def test_every_evaluation_layer_is_tried_here() -> None:
    found = {path.stem for path in CONFIG.glob("eval_*.yaml")}
    assert found == {*SETS, *LAYERS}


@pytest.mark.parametrize("name", SETS)
def test_a_dataset_layer_evaluates_its_sets_and_no_others(name: str) -> None:
    settings = by_hand(sets=name)
    assert list(settings.data.eval_sets) == SETS[name]
    readings = {"mmbench_dev_fuzzy": "fuzzy", "mmmu_val": "tolerant"}
    for name, item in settings.data.eval_sets.items():
        assert item.parse == readings.get(name, "official"), name
    base = load([PAPER])
    assert settings.training == base.training and settings.model == base.model


@pytest.mark.parametrize("name", SETS)
def test_a_dataset_layer_names_sets_of_the_paper_as_the_paper_has_them(name: str) -> None:
    paper = load([PAPER]).data.eval_sets
    layered = load([PAPER, CONFIG / f"{name}.yaml"]).data.eval_sets
    for known, chosen in paper.items():
        assert layered[known] == chosen


def test_a_checkpoint_is_asked_as_its_run_is() -> None:
    """Also one with images first, which leaves no cache to reuse; what the command says wins."""
    paper = load([PAPER])
    for run in trained_runs(paper):
        found, expected = by_hand(run=run), run_settings(paper, run, 0)
        for section in ("model", "policy", "training"):
            assert getattr(found, section) == getattr(expected, section), run
        assert found.data.prompt_order == expected.data.prompt_order
        assert found.eval.cache_reuse == expected.eval.cache_reuse
    assert not by_hand(run="image_first").eval.cache_reuse
    text_first = by_hand(run="image_first", assignments=["data.prompt_order=text_first"])
    assert text_first.data.prompt_order == "text_first" and text_first.eval.cache_reuse


def test_one_gpu_takes_half_precision_and_one_question_at_a_time() -> None:
    settings, base = by_hand("eval_single_gpu", sets="eval_textvqa"), load([PAPER])
    assert (settings.model.dtype, settings.eval.batch_size) == ("float16", 1)
    assert settings.training == base.training
    assert settings.eval.max_new_tokens == base.eval.max_new_tokens


def test_the_quick_layer_caps_every_set() -> None:
    assert by_hand("eval_quick_200", sets="eval_mmmu_text").quick == 200
    assert by_hand(sets="eval_mmmu_text").quick is None


def test_the_training_part_of_mmbench_is_never_evaluated() -> None:
    settings = load([PAPER, CONFIG / "mmbench_train.yaml"])
    trained = [part for part in settings.data.train if part.dataset == "mmbench"]
    assert [part.split for part in trained] == ["dev_train"]
    evaluated = settings.data.eval_sets["mmbench_dev"]
    assert mmbench_part(settings.data.datasets["mmbench"], evaluated.split) == ("dev", "eval")
    assert not any(part.dataset == "mmbench" for part in load([PAPER]).data.train)


def test_the_suite_of_one_card_is_a_part_of_the_papers(project: Path) -> None:
    """The same questions, budgets and experiments, of a smaller model that is trained less."""
    settings, paper = load([CONFIG / "single_gpu.yaml"]), load([PAPER])
    assert settings.data.datasets == paper.data.datasets
    assert settings.data.eval_sets == paper.data.eval_sets
    assert settings.vision_budget == paper.vision_budget
    assert settings.policy == paper.policy
    trained = {name: item for name, item in settings.experiments.items() if item.run == "vovnet"}
    assert trained.items() <= paper.experiments.items()
    assert settings.targets["minimal"] == paper.targets["mvp"]
    jobs = needed(project, "minimal", "config/single_gpu.yaml")
    assert (jobs["train_stage1"], jobs["train_stage2"], jobs["evaluate"]) == (1, 1, 4)
    assert jobs["observe"] == len(settings.data.eval_sets)
    jobs = needed(project, "mvp", "config/single_gpu.yaml")
    assert not [rule for rule in jobs if rule.startswith(("train", "leakage"))]
    assert (jobs["observe"], jobs["evaluate"]) == (len(settings.data.eval_sets), 6)


def test_a_suite_of_own_questions_needs_no_other_data(project: Path) -> None:
    settings, single = load([CONFIG / "own_data.yaml"]), load([CONFIG / "single_gpu.yaml"])
    assert settings.vision_budget == single.vision_budget
    assert settings.policy.cost_scale == single.policy.cost_scale
    assert settings.model.revision == single.model.revision
    jobs = needed(project, "paper_tables", "config/own_data.yaml")
    assert not [rule for rule in jobs if rule.startswith("train")]
    assert (jobs["prepare"], jobs["evaluate"]) == (2, len(settings.experiments))


def test_the_main_table_without_training_is_of_the_papers_questions(project: Path) -> None:
    settings, paper = load([CONFIG / "base_8b.yaml"]), load([PAPER])
    assert settings.data.eval_sets == paper.data.eval_sets
    assert settings.model.base_model_name == paper.model.base_model_name
    assert settings.vision_budget == paper.vision_budget
    assert settings.policy.cost_scale == paper.policy.cost_scale
    fitted = {(part.dataset, part.split) for part in settings.data.router_fit}
    for name, dataset in settings.data.datasets.items():
        known = paper.data.datasets[name]
        shared = {split: file for split, file in dataset.files.items() if split in known.files}
        assert shared.items() <= known.files.items() and dataset.root == known.root
        assert {(name, split) for split in dataset.files.keys() - shared.keys()} <= fitted
    drawn = [part for part in settings.data.router_fit if part.dataset == "textvqa"]
    of_paper = {
        (part.dataset, part.split, part.max_samples, part.draw_seed)
        for part in paper.data.router_fit
    }
    assert {
        (part.dataset, part.split, part.max_samples, part.draw_seed) for part in drawn
    } < of_paper
    assert settings.data.leakage.on_hit == paper.data.leakage.on_hit == "drop"
    heads = head_experiments(settings)
    assert settings.targets["mvp"] == [item for item in settings.experiments if item not in heads]
    jobs = needed(project, "mvp", "config/base_8b.yaml")
    assert not [rule for rule in jobs if rule.startswith(("train", "leakage"))]
    assert (jobs["prepare"], jobs["observe"]) == (3, 6)


def test_the_second_family_shows_as_many_tokens(project: Path) -> None:
    files = ("config/paper.yaml", "config/qwen2_5_vl.yaml")
    suites = [load([PAPER]), load([ROOT / name for name in files])]
    assert [suite.vision_budget.factor for suite in suites] == [32, 28]
    commits = {suite.model.revision or "" for suite in suites}
    assert len(commits) == 2 and all(re.fullmatch("[0-9a-f]{40}", commit) for commit in commits)
    tokens = []
    for suite in suites:
        sides = suite.experiments["resolution"].sweep["baseline_long_side"]
        views = ["coarse", "full", *(f"side-{side}" for side in sides)]
        tokens.append([num_vision_tokens([(4000, 3000)], v, suite.vision_budget) for v in views])
    assert tokens[0] == tokens[1]
    jobs = needed(project, "mvp", *files)
    assert (jobs["train_stage1"], jobs["evaluate"]) == (3, 4)

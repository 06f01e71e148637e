"""A base model as it is: observed and reported by the real DAG, with nothing trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.projects import snakemake
from support.replays import samples_of
from vovnet import cli
from vovnet.config import merge, run_settings, validate, yaml_text
from vovnet.config.experiments import stage1_owner, train_parts
from vovnet.core.errors import ConfigError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.core.records import read_states, read_table, signal_columns
from vovnet.pipeline.keys import step_settings
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies.experiments import resolve_experiment
from vovnet.views import DEFAULT_ACTIONS
from workflow.plan import Plan

THRESHOLD = {"baseline_name": "uncertainty_threshold", "baseline_threshold": 0.2}
ENTROPY = {"policy": THRESHOLD, "sweep": {"baseline_threshold": [0.02, 0.2]}}
SUITE: dict[str, Any] = {
    "standalone": True,
    "results_dir": "results/base",
    "data": {
        "synthetic": {"num_eval_questions": 12},
        "datasets": {
            "synth_mmmu": {
                "format": "mmmu",
                "source": "synthetic",
                "root": "results/base/raw/synth_mmmu",
                "files": {"validation": "*/validation-*.parquet", "dev": "*/dev-*.parquet"},
            }
        },
        "router_fit": [{"dataset": "synth_mmmu", "split": "dev", "max_samples": 12}],
        "eval_sets": {"mmmu": {"dataset": "synth_mmmu", "split": "validation"}},
    },
    "eval": {"max_new_tokens": 4, "bootstrap_samples": 50},
    "seeds": [3, 4],
    "runs": {
        "image_first": {"base": True, "data": {"prompt_order": "image_first"}},
        "image_last": {"base": True},
    },
    "experiments": {
        "full": {
            "title": "Always FULL",
            "run": "image_first",
            "role": "fixed",
            "policy": {"baseline_name": "always_full"},
        },
        **{
            f"{name}_{order}": {"title": f"{name} {order}", "run": f"image_{order}"} | stanza
            for order in ("first", "last")
            for name, stanza in (
                ("entropy", ENTROPY),
                ("live", {"policy": THRESHOLD, "mode": "live"}),
            )
        },
    },
}
FURTHER: dict[str, Any] = {
    "no_vision": {"role": "fixed", "policy": {"baseline_name": "no_vision"}},
    "fallback": {
        "policy": {
            "baseline_name": "no_vision",
            "fallback_mode": "full",
            "fallback_entropy_threshold": 0.6,
        },
        "error_slices": True,
    },
    "cascade": {"policy": {"baseline_name": "cascade", "options": {"threshold": 0.5}}},
    "random": {
        "role": "random",
        "policy": {"baseline_name": "random_policy_matched"},
        "match": {"experiment": "entropy_last", "thresholds": [0.02, 0.2]},
    },
    "oracle": {"role": "reference", "policy": {"baseline_name": "oracle"}},
    "probe": {"policy": {"baseline_name": "probe"}, "sweep": {"lambda_cost": [0, 0.02]}},
    "probe_live": {"policy": {"baseline_name": "probe", "lambda_cost": 0.02}, "mode": "live"},
}
MAIN_TABLE = "results/base/paper/main_table.csv"
LIVE_EQUALS_REPLAY = "live equals replay, sample by sample (float32 on the CPU)"


@pytest.fixture(scope="module")
def finished(project: Path) -> Path:
    """The project with the main table of a suite that trains nothing."""
    (project / "base.yaml").write_text(yaml_text(SUITE))
    done = snakemake(project, MAIN_TABLE, "--configfile", "base.yaml")
    assert done.returncode == 0, done.stderr[-4000:]
    jobs = done.stderr.partition("Job stats:")[2].partition("total ")[0]
    assert "observe " in jobs and "live " in jobs
    assert "train" not in jobs and "leakage" not in jobs
    return project


@pytest.fixture
def layout(finished: Path) -> Layout:
    return Layout(finished / "results/base")


def test_the_main_table_has_each_run_once(finished: Path) -> None:
    table = pd.read_csv(finished / MAIN_TABLE).set_index("experiment")
    assert set(table.index) == {"full", "entropy_first", "entropy_last", "by_text"}
    assert (table["num_seeds"] == 1).all() and table["accuracy_sd"].isna().all()
    swept = table.loc[["entropy_first", "entropy_last"]]
    assert (swept["latency_p50_ms"] > 0).all()
    caption = (finished / MAIN_TABLE).with_suffix(".md").read_text()
    assert "half of FULL's cost" in caption and "VoVNet" not in caption


def test_every_other_policy_and_its_report_need_no_trained_model(
    finished: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    stanzas = {name: {"title": name, "run": "image_last"} | item for name, item in FURTHER.items()}
    (finished / "further.yaml").write_text(yaml_text({"experiments": stanzas}))
    monkeypatch.chdir(finished)
    fitted = ["--run", "image_last", "--seed", "0", "--dataset", "router_fit"]
    commands = [["prepare", "--dataset", "synth_mmmu", "--split", "dev"]]
    commands += [["observe", *fitted], ["gather", *fitted]]
    commands += [["live", "--experiment", "probe_live"], ["match", "--experiment", "random"]]
    commands += [["evaluate", "--experiment", name] for name in FURTHER]
    commands += [["error_slices", "--experiment", "fallback"], ["reliability"]]
    commands += [["hull_metrics"], ["tables"], ["figures"], ["sanity"], ["page"]]
    for command, *arguments in commands:
        configs = ["--config", "base.yaml", "--config", "further.yaml"]
        assert cli.main([command, *configs, *arguments]) == 0, command
    rows = pd.read_csv(layout.paper / "main_table.csv").set_index("experiment")
    assert set(FURTHER) - {"probe_live"} <= set(rows.index)
    assert "VoVNet" not in (layout.paper / "oracle.md").read_text()
    checks = {item["name"]: item for item in read_json(layout.paper / "sanity.json")}
    assert not [item for item in checks.values() if item["block"] == "A0" and item["passed"]]
    live = checks[LIVE_EQUALS_REPLAY]
    assert live["passed"] is True and live["numbers"].startswith("3 of 3 hold")
    fallback = checks["a fallback turns as many NOs into its view as it is triggered"]
    assert fallback["passed"] is True
    assert (layout.paper / "figures/accuracy_cost.pdf").exists()
    assert not (layout.paper / "figures/training.pdf").exists()
    page = (layout.paper / "report.html").read_text()
    assert '"decides":true' in page and '"score_of":"correctness"' in page, "a head decides"
    assert '"missing_images":0' in page and page.count("data:image/webp") > 1


def test_scores_are_left_empty_and_all_else_is_there(layout: Layout) -> None:
    for run in ("image_first", "image_last"):
        folder = layout.observations(run, 0, "mmmu")
        signals = read_table(folder / "signals.parquet", signal_columns(DEFAULT_ACTIONS))
        empty = {name for name in signals if signals[name].isna().any()}
        assert empty == {f"score_{action}" for action in DEFAULT_ACTIONS}
        assert signals[list(empty)].isna().all(axis=None)
        ids, states_NF = read_states(folder / "states.parquet")
        assert ids == signals["id"].tolist() and np.isfinite(states_NF).all()
        assert not layout.stage(run, 0, 2).exists()
    live = json.loads(layout.live_facts("live_first").read_text())
    assert live["cache_reuse"] is False and set(live["checkpoints"][0]) == {"seed", "base_model"}


def test_images_first_are_read_by_an_answer_that_starts_anew(layout: Layout) -> None:
    """The text pass decides, and is paid for besides."""
    for order, after in (("first", "language_model_alone"), ("last", "language_model")):
        folder = layout.observations(f"image_{order}", 0, "mmmu")
        text_pass = pd.read_parquet(folder / "signals.parquet")["flops_text_pass"]
        full = pd.read_parquet(folder / "full.parquet")
        rows = samples_of(layout, f"entropy_{order}").query("point == 0").set_index("id")
        paid = text_pass + full["flops_vision_tower"] + full[f"flops_{after}"]
        looked = (rows["view"] == "full").to_numpy()
        assert looked.any()
        assert (rows["flops"][looked] == paid.to_numpy()[looked]).all()
        replayed = samples_of(layout, f"entropy_{order}").query("point == 1")["flops"]
        assert samples_of(layout, f"live_{order}")["flops"].tolist() == replayed.tolist()


# ---- by configuration alone --------------------------------------------------------------

MIXED: dict[str, Any] = merge(
    SUITE,
    {
        "data": {"train": [{"dataset": "synth_mmmu", "split": "dev"}]},
        "model": {"lora": {"r": 2}},
        "runs": {"vovnet": {}},
        "experiments": {"vovnet": {"title": "VoVNet", "sweep": {"lambda_cost": [0, 0.02]}}},
    },
)


def test_a_base_run_beside_trained_ones_is_not_theirs() -> None:
    settings = validate(MIXED, "test")
    assert stage1_owner(settings, "vovnet") == "vovnet", "no stage of a base run is shared"
    assert len(train_parts(settings)) == 1
    assert not train_parts(validate(SUITE, "test"))
    resolved = run_settings(settings, "image_first")
    assert resolved.model.lora is None and resolved.eval.cache_reuse is False
    assert run_settings(settings, "vovnet").model.lora is not None
    plan = Plan(settings)
    assert plan.model_files("vovnet", 3) == [plan.stage("vovnet", 3, 2)]
    files = plan.model_files("image_last", 0)
    assert {path.parent.as_posix() for path in files} == {"src/vovnet/assets/tiny-qwen3-vl"}


def test_runs_of_one_suite_ask_and_answer_each_in_its_own_way() -> None:
    change = {
        "runs": {
            "vovnet": {"eval": {"max_new_tokens": 9}},
            "image_last": {"eval": {"cache_reuse": False}},
            "trained_first": {"data": {"prompt_order": "image_first"}},
        }
    }
    settings = validate(merge(MIXED, change), "test")
    resolved = {run: run_settings(settings, run) for run in settings.runs}
    assert {run: value.eval.max_new_tokens for run, value in resolved.items()} == {
        "image_first": 4, "image_last": 4, "vovnet": 9, "trained_first": 4,
    }  # fmt: skip
    assert [run for run, value in resolved.items() if value.eval.cache_reuse] == ["vovnet"]
    assert stage1_owner(settings, "trained_first") == "trained_first", "asked in another order"
    assert stage1_owner(settings, "vovnet") == "vovnet"


def test_a_run_that_ends_with_stage_1_is_its_model_and_has_no_head() -> None:
    """It trains a stage 1 of its own, which no other run goes on from."""
    longer = {"last_stage": 1, "training": {"stage1_epochs": 2}}
    change = {
        "runs": {"longer": longer, "same": {"last_stage": 1}},
        "experiments": {
            "longer_full": {
                "title": "Longer",
                "run": "longer",
                "policy": {"baseline_name": "always_full"},
            }
        },
    }
    settings = validate(merge(MIXED, change), "test")
    plan = Plan(settings)
    assert plan.model_files("longer", 3) == [plan.stage("longer", 3, 1)]
    owners = [stage1_owner(settings, run) for run in ("vovnet", "longer", "same")]
    assert owners == ["vovnet", "longer", "same"]
    observed = step_settings(settings, "observe", run="longer", seed=3, eval_set="mmmu")
    assert observed["runs"] == {"longer": {"last_stage": 1}} and "policy" not in observed
    trained = TrainedModel(validate(observed, "own"), Layout(Path("results")), "longer", 3)
    assert (
        trained.checkpoint == Layout(Path("results")).stage("longer", 3, 1) and not trained.has_head
    )
    stanza = {"title": "Longer", "run": "longer", "sweep": {"lambda_cost": [0, 1]}}
    with pytest.raises(ConfigError, match="which the run 'longer' was not"):
        Plan(validate(merge(merge(MIXED, change), {"experiments": {"learned": stanza}}), "test"))
    with pytest.raises(ConfigError, match=r"runs\.longer\.last_stage: expected 1 or 2, got 3"):
        validate(merge(MIXED, {"runs": {"longer": {"last_stage": 3}}}), "test")


def test_what_a_head_reads_observes_no_base_model_again() -> None:
    observed, evaluated = (
        step_settings(validate(MIXED, "test"), step, **selection)
        for step, selection in (
            ("observe", {"run": "image_first", "seed": 0, "eval_set": "mmmu"}),
            ("evaluate", {"experiment": "entropy_first"}),
        )
    )
    assert "policy" not in observed and observed["seeds"] == [0]
    assert observed["runs"] == evaluated["runs"] == {"image_first": {"base": True}}
    assert evaluated["eval"]["cache_reuse"] is False, "what its answers cost depends on it"
    (text_first,) = (step_settings(validate(MIXED, "test"), "evaluate", experiment="entropy_last"),)
    assert "cache_reuse" not in text_first["eval"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"runs": {"image_last": {"training": {}}}},
            "runs.image_last.training: nothing is trained",
        ),
        ({"runs": {"image_last": {"policy": {}}}}, "runs.image_last.policy: nothing is trained"),
        (
            {"runs": {"image_last": {"model": {"lora": {"r": 2}}}}},
            "runs.image_last.model.lora: nothing is trained",
        ),
        (
            {"runs": {"image_last": {"base": "yes"}}},
            "runs.image_last.base: expected true or false, got 'yes'",
        ),
        (
            {"runs": {"image_last": {"eval": {"num_shards": 2}}}},
            "runs.image_last.eval.num_shards: a run may override batch_size, ",
        ),
        (
            {"runs": {"image_first": {"eval": {"cache_reuse": True}}}},
            "eval.cache_reuse: must be false with data.prompt_order: image_first",
        ),
        (
            {"experiments": {"full": {"seeds": [1]}}},
            "experiments.full.seeds: the base run 'image_first' is not trained",
        ),
    ],
)
def test_a_base_run_that_asks_for_training_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(merge(SUITE, change), "test")


@pytest.mark.parametrize(
    ("stanza", "message"),
    [
        ({"sweep": {"lambda_cost": [0, 1]}}, "policy.baseline_name: VoVNet is a model that"),
        (
            {"policy": {"fallback_mode": "full", "fallback_entropy_threshold": 1}},
            "policy.baseline_name: VoVNet is a model that was trained with its head, which the",
        ),
        (
            {"policy": THRESHOLD, "mode": "live", "compare_cache_reuse": True},
            "compare_cache_reuse: with data.prompt_order image_first there is no cache",
        ),
    ],
)
def test_a_policy_that_a_base_model_cannot_follow_is_refused(
    stanza: dict[str, Any], message: str
) -> None:
    own = {"mine": {"title": "Mine", "run": "image_first"} | stanza}
    settings = validate(merge(SUITE, {"experiments": own}), "test")
    with pytest.raises(ConfigError, match=message):
        resolve_experiment(settings, "mine")


def test_a_base_run_is_not_trained_by_hand() -> None:
    with pytest.raises(ConfigError, match=r"runs\.image_last: nothing of a run with base: true"):
        stage1_owner(validate(SUITE, "test"), "image_last")

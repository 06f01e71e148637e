"""Each step's configuration: it changes with exactly what the step reads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from vovnet.config import (
    Settings,
    load,
    merge,
    policy_points,
    run_settings,
    validate,
    yaml_text,
)
from vovnet.config.experiments import (
    fallback_experiments,
    report_experiments,
    report_names,
    stage1_owner,
    target_experiments,
)
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.pipeline.keys import EXECUTION_KEYS, step_code, step_settings, write_step_config
from vovnet.policies.experiments import resolve_experiment

BASE: dict[str, Any] = {
    "data": {
        "datasets": {
            "world": {
                "format": "mmbench",
                "source": "synthetic",
                "root": "raw/world",
                "files": {"train": "train.tsv", "dev": "dev.tsv"},
            },
            "signs": {
                "format": "textvqa",
                "root": "raw/signs",
                "files": {"train": "train.json", "val": "val.json"},
                "image_root": "images",
            },
        },
        "train": [{"dataset": "world", "split": "train"}, {"dataset": "signs", "split": "train"}],
        "router_fit": [{"dataset": "world", "split": "train", "max_samples": 50}],
        "eval_sets": {
            "world": {"dataset": "world", "split": "dev"},
            "signs": {"dataset": "signs", "split": "val", "max_samples": 100},
        },
    },
    "seeds": [0, 1],
    "runs": {"vovnet": {}, "soft": {"policy": {"use_straight_through": False}}},
    "experiments": {
        "pareto": {"title": "VoVNet", "sweep": {"lambda_cost": [0, math.inf]}},
        "random": {
            "title": "Random",
            "policy": {"baseline_name": "random_policy_matched"},
            "match": {"experiment": "pareto", "lambda_costs": [0]},
        },
        "router": {"title": "Router", "policy": {"baseline_name": "bayes_router"}},
        "live": {"title": "Live", "mode": "live", "datasets": ["signs"], "seeds": [1]},
        "soft": {"title": "Soft", "run": "soft"},
    },
    "targets": {"mvp": ["pareto"]},
}

STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "synthesize": ("synthesize", {"dataset": "world"}),
    "prepare": ("prepare", {"dataset": "world", "split": "dev"}),
    "leakage": ("leakage", {}),
    "stage1": ("train", {"run": "vovnet", "seed": 0, "stage": 1}),
    "stage2": ("train", {"run": "vovnet", "seed": 0, "stage": 2}),
    "soft": ("train", {"run": "soft", "seed": 0, "stage": 2}),
    "observe": ("observe", {"run": "vovnet", "seed": 0, "eval_set": "world"}),
    "router_fit": ("observe", {"run": "vovnet", "seed": 0, "eval_set": "router_fit"}),
    "match": ("match", {"experiment": "random"}),
    "pareto": ("evaluate", {"experiment": "pareto"}),
    "random": ("evaluate", {"experiment": "random"}),
    "router": ("evaluate", {"experiment": "router"}),
    "live": ("live", {"experiment": "live"}),
    "live_scored": ("evaluate", {"experiment": "live"}),
    "tables": ("tables", {}),
}
DECISIONS = {"match", "pareto", "random", "router", "live", "live_scored"}
TRAINING = {"stage1", "stage2", "soft"}
OBSERVATIONS = {"observe", "router_fit"}

CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    ({"data": {"synthetic": {"seed": 1}}}, {"synthesize"}),
    ({"data": {"datasets": {"signs": {"image_root": "other"}}}}, set()),
    ({"data": {"datasets": {"world": {"files": {"dev": "new.tsv"}}}}}, {"synthesize", "prepare"}
     | {"leakage", "observe"} | DECISIONS - {"live", "live_scored"}),
    ({"data": {"leakage": {"fail_on": ["id"]}}}, {"leakage"}),
    ({"data": {"leakage": {"on_hit": "drop"}}}, {"leakage", "router_fit", "router"} | TRAINING),
    ({"data": {"router_fit_held_out": True}}, {"leakage"} | TRAINING),
    ({"data": {"router_fit": [BASE["data"]["router_fit"][0] | {"parse": "official"}]}},
     {"router"}),
    ({"data": {"system_prompt": "Be brief."}}, TRAINING | OBSERVATIONS | {"live"}),
    ({"model": {"dtype": "bfloat16"}}, TRAINING | OBSERVATIONS | {"live"}),
    ({"vision_budget": {"coarse_long_side": 32}}, TRAINING | OBSERVATIONS | {"live"}),
    ({"policy": {"lambda_cost": 0.5}}, {"stage2", "soft"} | DECISIONS),
    ({"policy": {"baseline_seed": 1}}, DECISIONS),
    ({"policy": {"baseline_pruning_ratio": 0.5}}, DECISIONS),
    ({"policy": {"baseline_reduction": "pruning"}}, DECISIONS),
    ({"policy": {"feature_mode": "hidden_entropy"}}, {"stage2", "soft"} | OBSERVATIONS | DECISIONS),
    ({"training": {"stage2_epochs": 2}}, {"stage2", "soft"}),
    ({"training": {"stage1_epochs": 2}}, TRAINING),
    ({"training": {"num_workers": 3}}, set()),
    ({"eval": {"max_new_tokens": 3}}, OBSERVATIONS | {"live"}),
    ({"eval": {"batch_tokens": 900}}, OBSERVATIONS | {"live"}),
    ({"eval": {"bootstrap_samples": 9}}, {"pareto", "random", "router", "live_scored"}),
    ({"eval": {"num_shards": 5}}, set()),
    ({"eval": {"profile": True}}, set()),
    ({"quick": 80}, OBSERVATIONS - {"router_fit"} | DECISIONS),
    ({"quick": 20}, OBSERVATIONS | DECISIONS),
    ({"data": {"eval_sets": {"world": {"parse": "fuzzy"}}}},
     DECISIONS - {"live", "live_scored"}),
    ({"data": {"eval_sets": {"signs": {"parse": "tolerant"}}}}, DECISIONS - {"live"}),
    ({"experiments": {"pareto": {"title": "Ours"}}}, set()),
    (
        {"experiments": {"pareto": {"sweep": {"lambda_cost": [0, 1]}}}},
        {"pareto", "random", "match"},
    ),
    ({"experiments": {"new": {"title": "New"}}}, set()),
    ({"runs": {"soft": {"policy": {"entropy_weight": 2}}}}, {"soft"}),
    ({"seeds": [0, 1, 2]}, {"match", "pareto", "random", "router"}),
    ({"resources": {"train": {"mem_mb": 9}}, "targets": {"mvp": []}}, set()),
    ({"plan": {"start_s": 9}}, set()),
]  # fmt: skip
REPORT_UNMOVED = ({"resources": {"train": {"mem_mb": 9}}, "targets": {"mvp": []}},
                  {"plan": {"start_s": 9}}, {"eval": {"num_shards": 5}},
                  {"training": {"num_workers": 3}})  # fmt: skip


def settings(change: dict[str, Any] | None = None) -> Settings:
    return validate(merge(BASE, change or {}), "test")


def paths(value: Settings, folder: Path) -> dict[str, Path]:
    layout = Layout(folder)
    return {
        name: write_step_config(value, layout, step, **selection)
        for name, (step, selection) in STEPS.items()
    }


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_a_path_changes_exactly_where_the_change_is_read(
    tmp_path: Path, change: dict[str, Any], expected: set[str]
) -> None:
    before, after = paths(settings(), tmp_path), paths(settings(change), tmp_path)
    moved = {name for name in STEPS if before[name] != after[name]}
    reported = set() if change in REPORT_UNMOVED else {"tables"}
    assert moved == expected | reported


@pytest.mark.parametrize("name", STEPS)
def test_every_file_is_a_valid_configuration(tmp_path: Path, name: str) -> None:
    step, selection = STEPS[name]
    path = write_step_config(settings(), Layout(tmp_path), step, **selection)
    assert path.parent == tmp_path / "config"
    assert path.name.startswith(f"{step}-")
    assert path.read_text() == yaml_text(step_settings(settings(), step, **selection))
    assert load([path]).results_dir == settings().results_dir


def test_the_paper_shows_the_experiments_of_its_target(tmp_path: Path) -> None:
    """Another experiment touches it no more; what a shown one is matched to is shown with it."""
    change = {"targets": {"paper": ["random"]}, "report": {"target": "paper"}}
    own = validate(step_settings(settings(change), "tables"), "step")
    assert list(own.experiments) == ["pareto", "random"]
    assert own.report.target is None
    extra = {"soft": {"sweep": {"lambda_cost": [1]}}}
    before = write_step_config(settings(change), Layout(tmp_path), "tables")
    changed = settings(change | {"experiments": extra})
    assert write_step_config(changed, Layout(tmp_path), "tables") == before
    extra = {"pareto": {"sweep": {"lambda_cost": [0, 1]}}}
    changed = settings(change | {"experiments": extra})
    assert write_step_config(changed, Layout(tmp_path), "tables") != before
    alone = settings(change).model_dump() | {"targets": {}}
    assert report_experiments(validate(alone, "a command's own")) == list(BASE["experiments"])
    with pytest.raises(ConfigError, match=r"report\.target: 'papers' is not in targets"):
        settings({"report": {"target": "papers"}})


def test_a_list_may_have_a_report_of_its_own(tmp_path: Path) -> None:
    """Of its experiments alone, in a folder of its name, and no other report depends on it."""
    lists = {"paper": ["random"], "free": ["soft", "probe"], "eval": ["soft"]}
    probe = {"title": "Probe", "policy": {"baseline_name": "probe"}}
    change = {"targets": lists, "report": {"target": "paper"}, "experiments": {"probe": probe}}
    before = write_step_config(settings(change), Layout(tmp_path), "tables")
    change["report"] |= {"further": ["free"]}
    assert write_step_config(settings(change), Layout(tmp_path), "tables") == before
    assert report_names(settings(change)) == ["paper", "suite", "free"]
    own = validate(step_settings(settings(change), "tables", report="free"), "step")
    assert set(own.experiments) == {"soft", "probe"} and not own.report.further
    assert own.layout.paper == own.layout.results / "free"
    told = step_settings(settings(change), "reliability", report="free")
    assert set(told["experiments"]) == {"probe"}, "what a head expects is told there"
    for name, message in (("frees", "'frees' is not in targets"), ("eval", "'eval' is a folder")):
        change["report"]["further"] = [name]
        with pytest.raises(ConfigError, match=rf"report\.further: {message}"):
            settings(change)


def test_writing_again_leaves_the_file_alone(tmp_path: Path) -> None:
    first = paths(settings(), tmp_path)
    times = {path: path.stat().st_mtime_ns for path in first.values()}
    assert paths(settings(), tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in first.values()} == times


def test_execution_settings_arrive_without_moving_the_path(tmp_path: Path) -> None:
    step, selection = STEPS["observe"]
    layout = Layout(tmp_path)
    before = write_step_config(settings(), layout, step, **selection)
    changed = settings({"eval": {"shard_rows": 7, "num_shards": 5}})
    assert write_step_config(changed, layout, step, **selection) == before
    assert (load([before]).eval.shard_rows, load([before]).eval.num_shards) == (7, 5)


def test_execution_settings_exist() -> None:
    dumped = Settings().model_dump()
    for section, keys in EXECUTION_KEYS.items():
        assert keys <= set(dumped[section])


def test_a_step_sees_what_the_full_configuration_says() -> None:
    full = settings()
    step = validate(step_settings(full, "train", run="soft", seed=1, stage=2), "step")
    for section in ("model", "vision_budget", "training"):
        wanted = getattr(run_settings(full, "soft", 1), section)
        assert getattr(run_settings(step, "soft", 1), section) == wanted
    assert run_settings(step, "soft", 1).policy.use_straight_through is False
    assert stage1_owner(step, "soft") == stage1_owner(full, "soft") == "vovnet"


def test_runs_that_differ_in_stage_1_do_not_share_it() -> None:
    full = settings({"runs": {"soft": {"training": {"stage1_epochs": 3}}}})
    step = validate(step_settings(full, "train", run="soft", seed=1, stage=2), "step")
    assert stage1_owner(step, "soft") == stage1_owner(full, "soft") == "soft"


def test_what_a_run_says_of_policies_holds_for_its_experiments() -> None:
    fallback = {"fallback_mode": "full", "fallback_entropy_threshold": 0.3}
    full = settings({"runs": {"soft": {"policy": fallback}}})
    assert [point.fallback_mode for point in policy_points(full, "soft")] == ["full"]
    assert fallback_experiments(full) == ["soft"]
    full = settings({"runs": {"soft": {"policy": fallback}}})
    codes = [step_code(each, "evaluate", experiment="soft") for each in (full, settings())]
    assert codes[0] != codes[1], "the module of fallbacks counts"


COSTLY = {"policy": {"lambda_cost": 0.7}}
UNIT, IN_TOKENS = ({"policy": {"lambda_unit": unit}} for unit in ("share_of_full", "cost"))
MATCHES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, COSTLY, {"soft": {"run": "soft"}}),
    ({}, COSTLY, {"random": {"run": "soft"}}),
    ({}, {"base": True}, {"soft": {"run": "soft"}, "random": {"seeds": [0]}}),
    ({}, {}, {"random": {"datasets": ["signs"], "seeds": [1]}}),
    (UNIT, IN_TOKENS, {"soft": {"run": "soft"}}),
    (UNIT, IN_TOKENS, {"random": {"run": "soft"}}),
    ({"policy": {"objective": "correctness"}}, COSTLY, {"random": {"run": "soft"}}),
]
"""What the suite says, its run `soft`, and its experiments `random` and `soft`."""


@pytest.mark.parametrize(("suite", "soft", "stanzas"), MATCHES)
def test_steps_of_a_match_find_both_experiments_as_the_suite_has_them(
    suite: dict[str, Any], soft: dict[str, Any], stanzas: dict[str, Any]
) -> None:
    """Of whatever runs, policies and sets the two are; what a step reads is its key."""
    match = {"experiment": "soft", "lambda_costs": [0.7]}
    shared = {"soft": {"run": "vovnet", "sweep": {"lambda_cost": [0.7]}}}
    shared["random"] = {"mode": "live", "match": match}
    value = BASE | {"runs": {"vovnet": {}, "soft": soft}}
    for layer in (suite, {"experiments": shared}, {"experiments": stanzas}):
        value = merge(value, layer)
    full = validate(value, "test")
    for step in ("match", "live", "evaluate"):
        written = step_settings(full, step, experiment="random")
        own = validate(written, step)
        resolve_experiment(own, "random")
        for name in ("random", "soft"):
            assert policy_points(own, name) == policy_points(full, name)
        assert step_settings(own, step, experiment="random") == written


def test_caps_are_folded_into_the_sets() -> None:
    full = settings({"quick": 80, "eval": {"max_samples": 60}})
    value = validate(step_settings(full, "evaluate", experiment="router"), "step")
    caps = {name: item.max_samples for name, item in value.data.eval_sets.items()}
    assert caps == {"world": 60, "signs": 60}
    assert [part.max_samples for part in value.data.router_fit] == [50]
    assert value.layout.results == value.layout.root / "quick-80"


def test_an_infinite_lambda_survives(tmp_path: Path) -> None:
    path = write_step_config(settings(), Layout(tmp_path), "evaluate", experiment="pareto")
    assert policy_points(load([path]), "pareto")[1].lambda_cost == math.inf


def test_the_seed_is_the_runs(tmp_path: Path) -> None:
    value = validate(step_settings(settings(), "train", run="vovnet", seed=1, stage=1), "step")
    assert (value.training.seed, value.seeds) == (1, [1])
    # Plans ask for the code of one seed, and take it for that of all.
    codes = {step_code(settings(), "train", run="vovnet", seed=seed, stage=1) for seed in (0, 1)}
    assert len(codes) == 1


def test_quick_results_have_a_folder_of_their_own_and_share_data_and_training(
    tmp_path: Path,
) -> None:
    quick = settings({"quick": 20}).layout
    assert quick.samples("world", "dev") == settings().layout.samples("world", "dev")
    assert quick.stage("vovnet", 0, 2) == settings().layout.stage("vovnet", 0, 2)
    folder = quick.root / "quick-20"
    for path in (
        quick.observations("vovnet", 0, "world"),
        quick.eval("pareto"),
        quick.hull,
        quick.bench,
        quick.paper,
    ):
        assert path.is_relative_to(folder)
    layout = Layout(tmp_path, quick=20)
    config = write_step_config(
        settings({"quick": 20}), layout, "train", run="soft", seed=0, stage=2
    )
    assert config.parent == tmp_path / "config"
    config = write_step_config(settings({"quick": 20}), layout, "evaluate", experiment="pareto")
    assert config.parent == tmp_path / "quick-20/config"
    assert load([config]).layout.eval("pareto") == quick.eval("pareto")


def test_a_stanza_joins_the_targets_that_it_names() -> None:
    joining = {"experiments": {"router": {"targets": ["mvp"]}}}
    assert target_experiments(settings(joining), "mvp") == ["pareto", "router"]
    for step, selection in STEPS.values():
        plain, joined = settings(), settings(joining)
        same = step_settings(plain, step, **selection) == step_settings(joined, step, **selection)
        assert same, f"{step}: where an experiment is listed changes no result"
    shown = settings(joining | {"report": {"target": "mvp"}})
    assert report_experiments(shown) == ["pareto", "router"]
    with pytest.raises(ConfigError, match=r"experiments\.router\.targets: 'mpv' is not in targets"):
        settings({"experiments": {"router": {"targets": ["mpv"]}}})


def test_a_suite_that_stands_alone_has_a_results_folder_of_its_own() -> None:
    assert settings({"standalone": True, "results_dir": "results/own"}).standalone
    with pytest.raises(ConfigError, match="results_dir: a suite with `standalone: true` needs"):
        settings({"standalone": True})

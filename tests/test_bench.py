"""The bench: both ways of everything it compares must give the same numbers and tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from support.models import save_stage2
from support.worlds import settings_of
from vovnet import cli
from vovnet.commands.bench import PARTS
from vovnet.commands.bench.latency import compare_batching, compare_reductions, compare_reuse
from vovnet.commands.bench.observe_once import compare_growth, compare_suite
from vovnet.commands.bench.row_by_row import row_outcome
from vovnet.commands.bench.subject import Bench, Line, growth_exponent, interleaved, open_bench
from vovnet.config import Match, Settings, policy_points, validate, yaml_text
from vovnet.config.execution import ReportSettings
from vovnet.config.experiments import bench_experiments
from vovnet.core.errors import ConfigError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.evaluation.questions import load_questions
from vovnet.pipeline.keys import step_settings
from vovnet.policies.experiments import needed_views

pytestmark = pytest.mark.slow

SMALL = {"num_samples": 4, "repeats": 1, "growth": [6, 12]}
PROBE = {
    "title": "Probe",
    "policy": {"baseline_name": "probe"},
    "sweep": {"lambda_cost": [0.0, 0.01]},
}


def small_settings(layout: Layout) -> Settings:
    """Of each sweep its last point: a run of its own is made for every one."""
    change = {"bench": SMALL, "eval": {"bootstrap_samples": 20}, "experiments": {"probe": PROBE}}
    value = settings_of(layout, change).model_dump(mode="json", exclude_unset=True)
    for stanza in value["experiments"].values():
        stanza["sweep"] = {key: points[-1:] for key, points in stanza.get("sweep", {}).items()}
        if "match" in stanza:
            stanza["match"]["lambda_costs"] = stanza["match"]["lambda_costs"][-1:]
    value["experiments"]["always_full"]["targets"] = ["mvp"]  # which the bench does without
    value["experiments"]["always_full"]["max_samples"] = SMALL["num_samples"] - 1
    return validate(value, "test settings")


def few_experiments(settings: Settings, *names: str) -> Settings:
    kept = {name: settings.experiments[name] for name in names}
    update = {"experiments": kept, "targets": {"mvp": []}, "report": ReportSettings()}
    return settings.model_copy(update=update)


@pytest.fixture
def bench(fresh: Layout) -> Bench:
    settings = small_settings(fresh)
    save_stage2(settings, fresh)
    return open_bench(settings, fresh, fresh.bench / "work")


def values(lines: list[Line]) -> dict[str, float]:
    return {line.what: line.value for line in lines}


def test_the_bench_takes_the_rows_of_one_trained_model(fresh: Layout) -> None:
    names = bench_experiments(small_settings(fresh))
    assert "pareto_vovnet" in names and "random_matched_buckets" in names
    assert not {"ablation_binary", "profile_vovnet", "cache_reuse"} & set(names)
    other = {"title": "A", "match": {"experiment": "b", "lambda_costs": [0.02]}}
    stanzas = {"a": other, "b": {"title": "B", "run": "base"}}
    value = {"runs": {"vovnet": {}, "base": {"base": True}}, "experiments": stanzas}
    with pytest.raises(ConfigError, match="the bench measures run 'vovnet'"):
        step_settings(validate(value, "test"), "bench")


def test_ratios_that_were_copied_are_copied_from_what_is_evaluated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vovnet.commands.bench.observe_once as suite

    done: list[str] = []
    monkeypatch.setattr(suite, "evaluate_experiment", lambda *given: done.append(given[-1]))
    for name in ("observe_shard", "gather", "write_matched"):
        monkeypatch.setattr(suite, name, lambda *given, **further: None)
    few = few_experiments(bench.settings, "always_full", "no_vision", "oracle")
    for later, earlier in (("always_full", "no_vision"), ("no_vision", "oracle")):
        match = Match(experiment=earlier, lambda_costs=[0.02])
        few.experiments[later] = few.experiments[later].model_copy(update={"match": match})
    suite.observe_suite(replace(bench, settings=few), bench.layout)
    assert done == ["oracle", "no_vision", "always_full"]


def test_every_row_alone_says_what_the_observations_say(bench: Bench) -> None:
    lines, facts = compare_suite(bench)
    found = values(lines)
    assert facts["different"] == []
    assert found["rows whose numbers differ"] == 0
    points = sum(len(policy_points(bench.settings, name)) for name in bench.settings.experiments)
    assert facts["num_rows"] == 3 * points
    # A question of a set is read twice and answered under each view; the routers' set has no
    # reduced views.
    views = needed_views(bench.settings, bench.run, bench.seed, bench.first_set)
    fitted = sum(part.max_samples or 0 for part in bench.settings.data.router_fit)
    expected = 3 * SMALL["num_samples"] * (4 + 1 + len(views)) + fitted * 4
    assert [way["passes"] for way in facts["observations"]] == [expected, expected]
    assert facts["rows"]["passes"] > facts["fitted_once"]["passes"] > expected
    ratio = found["model passes, a run per row / observations"]
    assert ratio == facts["rows"]["passes"] / expected


def test_a_row_runs_only_what_its_policy_needs(bench: Bench) -> None:
    """Passes per question: a fixed policy one, a learned one two, an oracle one per action."""
    questions = load_questions(bench.settings, bench.layout, "synth_mmmu")
    expected = {"always_full": 1, "no_vision": 1, "pruning_stride": 1, "pareto_vovnet": 2}
    expected |= {"uncertainty_entropy_full": 2, "vovnet_pruning": 2, "oracle": 3}
    for name, passes in expected.items():
        bench.inference.passes = 0
        row_outcome(bench, policy_points(bench.settings, name)[0], questions, None)
        assert bench.inference.passes == passes * len(questions.samples), name


def test_a_row_that_differs_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single other answer is enough."""
    import vovnet.commands.bench.observe_once as suite

    original = suite.row_outcome

    def wrong(*arguments: Any) -> Any:
        outcome = original(*arguments)
        rows = outcome.rows.assign(prediction="something else")
        return replace(outcome, rows=rows)

    monkeypatch.setattr(suite, "row_outcome", wrong)
    few = few_experiments(bench.settings, "always_full", "pruning_stride")
    lines, facts = compare_suite(replace(bench, settings=few))
    assert len(facts["different"]) == facts["num_rows"]
    assert next(line for line in lines if line.at_most == 0).verdict == "miss"


def test_plain_generation_gives_the_observed_tokens(bench: Bench) -> None:
    lines, facts = compare_batching(bench)
    assert facts["num_different"] == 0
    assert facts["num_samples"] == SMALL["num_samples"]
    assert [line.verdict for line in lines if line.at_most == 0] == ["pass"]


def test_reuse_and_plain_text_give_the_same_tokens(bench: Bench) -> None:
    lines, facts = compare_reuse(bench)
    assert values(lines)["answers whose tokens differ"] == 0
    for ratio in (facts["full"], facts["no"]["plain"], facts["no"]["no_vision"]):
        assert ratio["latency_ratio_lo"] <= ratio["latency_ratio"] <= ratio["latency_ratio_hi"]


def test_every_reduced_view_is_timed_on_its_shorter_sequence(bench: Bench) -> None:
    lines, facts = compare_reductions(bench)
    views = facts["views"]
    assert len(lines) == len(views) - 1
    assert views["full"]["vision_tokens"] > views["full+prune-stride-0.5"]["vision_tokens"] > 0
    saved = views["full"]["vision_tokens"] - views["full+prune-stride-0.5"]["vision_tokens"]
    lengths = [views[view]["sequence_length"] for view in ("full", "full+prune-stride-0.5")]
    assert lengths[0] - lengths[1] == pytest.approx(saved)
    assert views["full"]["flops"] > views["full+prune-stride-0.5"]["flops"]
    assert all(item["look_ms"] > 0 and item["prefill_ms"] > 0 for item in views.values())


def test_growth_goes_beyond_the_questions_at_hand(bench: Bench) -> None:
    _, facts = compare_growth(bench)
    assert facts["sizes"] == SMALL["growth"]
    assert set(facts["exponents"]) == {"observation", "evaluation"}
    assert all(len(seconds) == 2 for seconds in facts["seconds"].values())
    assert not (bench.layout.root / "growth").exists()


def test_the_exponent_is_that_of_a_power() -> None:
    sizes = [500, 1000, 2000, 4000]
    assert growth_exponent(sizes, [3.0 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert growth_exponent(sizes, [2.0 * size for size in sizes]) == pytest.approx(1.0)


def test_ways_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    ways = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    seconds = interleaved(ways, 2)
    assert calls == ["a", "b", "a", "b", "b", "a"]
    assert {name: len(items) for name, items in seconds.items()} == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (Line("a", "x", 8.0, at_least=8), "pass"),
        (Line("a", "x", 7.99, at_least=8), "miss"),
        (Line("c", "x", 1.1, at_most=1.1), "pass"),
        (Line("c", "x", 1.2, at_most=1.1), "miss"),
        (Line("d", "x", 3.0), ""),
    ],
)
def test_a_miss_is_called_one(line: Line, verdict: str) -> None:
    assert line.verdict == verdict


def test_the_command_writes_and_prints_the_table(
    fresh: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = small_settings(fresh)
    save_stage2(settings, fresh)
    config = tmp_path / "bench.yaml"
    few = few_experiments(settings, "pareto_vovnet", "always_full", "pruning_stride")
    config.write_text(yaml_text(few.model_dump(mode="json")), encoding="utf-8")
    assert cli.main(["bench", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    table = pd.read_csv(fresh.bench / "bench.csv")
    assert sorted(set(table["part"])) == ["a", "b", "c", "d", "e"]
    assert all(what in printed for what in table["what"])
    manifest = read_json(fresh.bench / "manifest.json")
    assert set(PARTS) < set(manifest["outputs"])
    assert manifest["machine"]["torch_threads"] == settings.bench.num_threads
    assert not (fresh.bench / "work").exists()

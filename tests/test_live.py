"""A live run and a replay of stored observations are one and the same policy."""

from __future__ import annotations

import fcntl
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

import vovnet.inference.live
import vovnet.policies.learned
from gpu_leases.lock_folder import lock_folder
from support.live import POLICIES, VIEWS, live_settings
from support.models import make_inference
from support.worlds import SETS, settings_of
from vovnet import cli
from vovnet.config import merge, policy_points, validate
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json
from vovnet.core.layout import Layout
from vovnet.evaluation.columns import read_results
from vovnet.evaluation.experiment import evaluate_experiment
from vovnet.evaluation.live_columns import PARTS
from vovnet.evaluation.questions import Questions, load_questions
from vovnet.evaluation.replay import Outcome, load_observed, replay, scored_outcome
from vovnet.inference.engine import Inference
from vovnet.inference.live import LivePolicy, answer_both_ways, live_experiment
from vovnet.machine.alone import NAME, at_work
from vovnet.pipeline.trained_model import TrainedModel

SAME = (
    *("action", "view", "executed", "prediction", "fallback_triggered"),
    *("cost", "vision_tokens", "flops", "score", "parse_fallback"),
)
"""What of an outcome must be the same, live and replayed."""


def outcome_of(live: LivePolicy, questions: Questions) -> Outcome:
    """What a live policy does on a set."""
    rows = [{"id": sample.id} | live(sample).row for sample in questions.samples]
    actions = live.inference.settings.actions
    return scored_outcome(live.policy, actions, questions, pd.DataFrame(rows))


def test_live_equals_replay(observed: Layout) -> None:
    """Predictions, actions and costs, for every kind of policy on every set."""
    settings = live_settings(observed)
    inference = make_inference(settings)
    taken: set[int] = set()
    executed: dict[str, set[str]] = {name: set() for name in POLICIES}
    for name in SETS:
        questions = load_questions(settings, observed, name, max_questions=8)
        stored = load_observed(
            TrainedModel(settings, observed, "vovnet", 0), questions, views=VIEWS
        )
        for experiment in POLICIES:
            (policy,) = policy_points(settings, experiment)
            stored_outcome = replay(policy, questions, stored)
            outcome = outcome_of(LivePolicy(inference, observed, policy), questions)
            for column in SAME:
                found, expected = outcome.rows[column], stored_outcome.rows[column]
                assert found.tolist() == expected.tolist(), (name, experiment, column)
            assert outcome.has_fallback == stored_outcome.has_fallback
            taken |= set(outcome.actions.tolist())
            executed[experiment] |= set(outcome.rows["executed"])
    assert taken == {-1, 0, 1, 2}
    assert executed["fallback"] == {"no", "full"}
    assert executed["cascade"] == {"coarse", "coarse>full"}
    assert {"no", "no>coarse", "no>coarse>full"} == executed["cascade_of_answers"]
    assert {"side-96", "side-96>full+pool-2"} <= executed["cascade_of_views"]


def test_fixed_policies_do_not_pay_for_a_text_pass(
    observed: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = live_settings(observed)
    inference = make_inference(settings)
    passes = []
    original = inference.text_pass
    monkeypatch.setattr(inference, "text_pass", lambda s: passes.append(s) or original(s))
    sample = load_questions(settings, observed, "synth_mmmu").samples[0]
    counts = {"no_vision": 0, "always_coarse": 0, "random": 0, "pruning": 0, "vovnet": 1}
    for name, count in counts.items():
        passes.clear()
        (policy,) = policy_points(settings, name)
        timing = LivePolicy(inference, observed, policy)(sample).timing
        assert len(passes) == count, name
        assert (timing.parts["text_pass"] > 0) == bool(count)


def test_a_fallback_executes_one_view_and_pays_for_it(
    observed: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The overruled NO is not answered first: one view per sample, at that view's cost."""
    settings = live_settings(observed)
    inference = make_inference(settings)
    views = []
    original = inference.answer
    monkeypatch.setattr(
        inference,
        "answer",
        lambda s, view, *rest, **kw: views.append(view) or original(s, view, *rest, **kw),
    )
    (policy,) = policy_points(settings, "fallback")
    questions = load_questions(settings, observed, "synth_mmmu")
    outcome = outcome_of(LivePolicy(inference, observed, policy), questions)
    triggered = outcome.rows["fallback_triggered"]
    assert outcome.has_fallback and triggered.any() and not triggered.all()
    assert views == ["full" if overruled else "no" for overruled in triggered]
    for sample, view, cost in zip(questions.samples, views, outcome.rows["cost"], strict=True):
        assert cost == inference.view_tokens(sample, view) * policy.cost_scale
        assert (cost > 0) == (view == "full")


def test_images_are_loaded_only_to_be_looked_at(observed: Layout) -> None:
    settings = live_settings(observed)
    inference = make_inference(settings)
    sample = load_questions(settings, observed, "synth_mmmu").samples[0]
    gone = [image.model_copy(update={"path": "images/gone.png"}) for image in sample.images]
    blind = sample.model_copy(update={"images": gone})
    (policy,) = policy_points(settings, "no_vision")
    assert LivePolicy(inference, observed, policy)(blind).row["action"] == 0


def test_oracles_cannot_run_live(observed: Layout) -> None:
    settings = live_settings(observed)
    policy = settings.policy.model_copy(update={"baseline_name": "oracle"})
    with pytest.raises(ConfigError, match="reads the answers"):
        LivePolicy(make_inference(settings), observed, policy)


def test_live_results(observed: Layout) -> None:
    settings = live_settings(observed)
    for name in ("vovnet", "no_vision"):
        live_experiment(settings, observed, name)
        evaluate_experiment(settings, observed, name)
        results = read_results(observed.eval(name) / "results.csv")
        assert results["dataset"].tolist() == list(SETS)
        assert (results["latency_p50_ms"] > 0).all()
        assert (results["latency_p90_ms"] >= results["latency_p50_ms"]).all()
        assert results["mem_peak_p50_mb"].isna().all() or torch.cuda.is_available()
        profiles = read_json(observed.eval(name) / "summary.json")["profile"]
        assert len(profiles) == len(SETS)
        for item, (_, row) in zip(profiles, results.iterrows(), strict=True):
            assert item["tokens_s"] > 0
            assert sum(item["time_shares"].values()) == pytest.approx(1)
            assert sum(item["parts_ms"].values()) == pytest.approx(row["latency_ms"])
            assert item["text_pass"] == (item["parts_ms"]["text_pass"] > 0) == (name == "vovnet")
            looked = row["action_rate_no"] < 1
            for part in ("image_loading", "vision_encoding"):
                took = item["parts_ms"][part]  # without a look that of a clock, on a busy machine
                assert took > 0.05 if looked else took < 1


def test_every_part_of_a_look_is_timed(observed: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delay in any part shows in that part, and in no other one."""
    settings = live_settings(observed)
    inference = make_inference(settings)
    (policy,) = policy_points(settings, "vovnet")
    samples = load_questions(settings, observed, "synth_mmmu").samples
    places = {
        "text_pass": (inference, "text_pass"),
        "decision": (vovnet.policies.learned, "choose_actions"),
        "image_loading": (vovnet.inference.live, "load_images"),
        "preprocessing": (type(inference.vlm), "preprocess"),
        "vision_encoding": (type(inference.vlm), "encode"),
        "prefill": (inference, "_prefill"),
        "generation": (type(inference.vlm), "generate"),
    }
    assert tuple(places) == PARTS
    live = LivePolicy(inference, observed, policy.model_copy(update={"lambda_cost": 0.0}))
    live.warm_up(samples[:1])
    sample = next(sample for sample in samples if live(sample).row["action"] > 0)
    plain = live(sample).timing.parts
    for part, (owner, name) in places.items():
        original = getattr(owner, name)

        def late(*args: Any, original: Any = original, **kw: Any) -> Any:
            time.sleep(0.3)
            return original(*args, **kw)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, late)
            # On a busy machine any part may take long once.
            runs = [live(sample).timing.parts for _ in range(3)]
            slow = {other: min(run[other] for run in runs) for other in PARTS}
        added = {other: slow[other] - plain[other] for other in PARTS}
        assert added[part] > 250, part
        assert all(value < 200 for other, value in added.items() if other != part), (part, added)


def test_making_a_table_of_the_signals_is_no_part_of_an_answer(
    observed: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployed policy has its signals at hand; a fixed one reads none."""
    settings = live_settings(observed)
    (policy,) = policy_points(settings, "no_vision")
    live = LivePolicy(make_inference(settings), observed, policy)
    sample = load_questions(settings, observed, "synth_mmmu").samples[0]
    live.warm_up([sample])
    original = pd.DataFrame

    def late(*args: Any, **kw: Any) -> pd.DataFrame:
        time.sleep(0.3)
        return original(*args, **kw)

    monkeypatch.setattr(vovnet.inference.live.pd, "DataFrame", late)
    assert live(sample).timing.parts["decision"] < 200


def test_warm_up_takes_every_view(observed: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = live_settings(observed)
    inference = make_inference(settings)
    (policy,) = policy_points(settings, "no_vision")
    views = []
    original = inference.answer
    monkeypatch.setattr(
        inference,
        "answer",
        lambda s, view, *rest, **kw: views.append(view) or original(s, view, *rest, **kw),
    )
    sample = load_questions(settings, observed, "synth_mmmu").samples[0]
    LivePolicy(inference, observed, policy).warm_up([sample])
    assert views == ["no", "no", "coarse", "full"]


# ---- cache reuse -------------------------------------------------------------------------


def test_cache_reuse_changes_no_token(observed: Layout) -> None:
    """And its summary tells the paired ratio, which is that of the stored latencies."""
    settings = live_settings(observed)
    compared = {"title": "both", "mode": "live", "seeds": [0], "compare_cache_reuse": True}
    settings = validate(
        merge(settings.model_dump(), {"experiments": {"both": compared}}), "test settings"
    )
    live_experiment(settings, observed, "both")
    evaluate_experiment(settings, observed, "both")
    profiles = read_json(observed.eval("both") / "summary.json")["profile"]
    taken: set[str] = set()
    for item in profiles:
        facts = item["cache_reuse_comparison"]
        assert (facts["num_different"], facts["different"]) == (0, [])
        assert facts["num_samples"] == item["num_samples"]
        assert facts["latency_ratio_lo"] <= facts["latency_ratio"] <= facts["latency_ratio_hi"]
        assert facts["without"]["latency_p50_ms"] > 0
        taken |= set(facts["latency_ratio_by_view"])
    assert taken


def test_both_ways_differ_in_the_cache_alone(observed: Layout) -> None:
    settings = live_settings(observed)
    (policy,) = policy_points(settings, "vovnet")
    samples = load_questions(settings, observed, "synth_mmmu").samples[:4]
    done: list[None] = []
    live = LivePolicy(make_inference(settings), observed, policy)
    first, second = answer_both_ways(live, samples, lambda: done.append(None))
    assert len(done) == len(samples)
    for a, b in zip(first, second, strict=True):
        assert a.answer.token_ids == b.answer.token_ids and a.row["view"] == b.row["view"]
        assert a.answer.vision_tokens == b.answer.vision_tokens
        assert a.timing.parts["text_pass"] > 0 and b.timing.parts["text_pass"] > 0


def test_a_reuse_that_changes_tokens_fails(
    observed: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = live_settings(observed)
    compared = {"title": "both", "mode": "live", "seeds": [0], "compare_cache_reuse": True}
    settings = validate(
        merge(settings.model_dump(), {"experiments": {"both": compared}}), "test settings"
    )
    original = Inference.answer

    def wrong(self: Inference, *args: Any, **kw: Any) -> Any:
        (answer,) = original(self, *args, **kw)
        extra = () if self.settings.eval.cache_reuse else (0,)
        return [replace(answer, token_ids=answer.token_ids + extra)]

    monkeypatch.setattr(Inference, "answer", wrong)
    with pytest.raises(DataError, match="cache reuse changes the generated tokens"):
        live_experiment(settings, observed, "both")
    assert not observed.eval("both").exists()


def test_only_live_experiments_compare_cache_reuse(observed: Layout) -> None:
    value = settings_of(observed).model_dump()
    stanza = {"experiments": {"both": {"title": "both", "compare_cache_reuse": True}}}
    with pytest.raises(ConfigError, match="compare_cache_reuse needs mode: live"):
        validate(merge(value, stanza), "test")


def test_profiling_by_hand_gives_the_columns(observed: Layout, tmp_path: Path) -> None:
    """`eval.profile: true` adds timings to what the same command says without them."""
    value = live_settings(observed).model_dump(mode="json") | {"experiments": {}, "targets": {}}
    config, profile = tmp_path / "config.yaml", tmp_path / "profile.yaml"
    config.write_text(yaml.safe_dump(value))
    profile.write_text("eval: {profile: true, max_samples: 3}\n")
    checkpoint = str(observed.stage("vovnet", 0, 2))
    (tmp_path / "plain.yaml").write_text("eval: {max_samples: 3}\n")
    found = {}
    for name in ("plain", "profile"):
        arguments = ["--config", str(config), "--config", str(tmp_path / f"{name}.yaml")]
        output = tmp_path / f"out_{name}"
        arguments += ["--checkpoint", checkpoint, "--output_dir", str(output)]
        assert cli.main(["eval", *arguments]) == 0
        found[name] = read_results(output / "results.csv")
    timed = ["latency_ms", "latency_p50_ms", "latency_p90_ms"]
    assert found["plain"][timed].isna().all().all()
    assert (found["profile"][timed] > 0).all().all()
    same = ["dataset", "num_samples", "accuracy", "avg_cost", "action_ratio"]
    pd.testing.assert_frame_equal(found["profile"][same], found["plain"][same])
    summary = read_json(tmp_path / "out_profile" / "summary.json")
    assert all(item["tokens_s"] > 0 for item in summary["profile"])


def test_a_run_beside_others_has_no_latency(observed: Layout) -> None:
    settings = live_settings(observed)
    with at_work(), (lock_folder() / NAME).open() as another:
        fcntl.flock(another, fcntl.LOCK_SH)
        live_experiment(settings, observed, "no_vision")
    evaluate_experiment(settings, observed, "no_vision")
    assert read_json(observed.live_facts("no_vision"))["alone"] is False
    results = read_results(observed.eval("no_vision") / "results.csv")
    assert results[["latency_ms", "latency_p50_ms", "latency_p90_ms"]].isna().all().all()
    summary = read_json(observed.eval("no_vision") / "summary.json")
    assert not any({"latency_p50_ms", "tokens_s"} & item.keys() for item in summary["profile"])


@pytest.mark.parametrize("profiled", [False, True])
def test_error_slices_by_hand(observed: Layout, tmp_path: Path, profiled: bool) -> None:
    """A checkpoint's policy, replayed or live: the same slices, beside its results."""
    value = live_settings(observed).model_dump(mode="json") | {"experiments": {}, "targets": {}}
    value["eval"] |= {"max_samples": 4, "profile": profiled}
    config, sets = tmp_path / "config.yaml", tmp_path / "sets.yaml"
    config.write_text(yaml.safe_dump(value))
    sets.write_text(
        yaml.safe_dump({"data": {"eval_sets": {"synth_mmmu": {"split": "validation"}}}})
    )
    arguments = ["--config", str(config), "--dataset_config", str(sets)]
    arguments += ["--checkpoint", str(observed.stage("vovnet", 0, 2))]
    assert cli.main(["error_slices", *arguments, "--output_dir", str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "error_slices.csv")
    assert set(table["dataset"]) == {"synth_mmmu"}
    (whole,) = table[table["field"] == "all"].to_dict("records")
    results = read_results(tmp_path / "out" / "results.csv")
    assert whole["num_questions"] == results["num_samples"].iloc[0] == 4
    assert whole["accuracy"] == pytest.approx(results["accuracy"].iloc[0])
    assert {"subject", "num_images", "image_size"} <= set(table["field"])
    assert results["latency_p50_ms"].isna().all() != profiled

"""A live run and a replay of stored observations are one and the same policy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import settings_of
from test_observe import make_inference

from vovnet.blocks import gather, gather_views
from vovnet.config import PolicySettings, Settings, policy_points
from vovnet.errors import ConfigError
from vovnet.layout import Layout
from vovnet.live import LivePolicy, live_experiment, live_outcome, profile_of
from vovnet.model import save_weights
from vovnet.observe import observe_shard, observe_views_shard
from vovnet.policies import reduced_views
from vovnet.records import read_results
from vovnet.replay import load_observed, load_questions, replay

POLICIES: dict[str, dict[str, Any]] = {
    "vovnet": {"lambda_cost": 0.02},
    "vovnet_dear": {"lambda_cost": 0.3},
    "fallback": {
        "lambda_cost": 5.0,
        "fallback_mode": "full",
        "fallback_entropy_threshold": 0.5,
    },
    "entropy": {"baseline_name": "uncertainty_threshold", "baseline_threshold": 0.3},
    "random": {
        "baseline_name": "random_policy_matched",
        "baseline_target_ratios": [0.3, 0.3, 0.4],
    },
    "buckets": {
        "baseline_name": "random_policy_matched",
        "baseline_bucket_ratios": [[0.6, 0.2, 0.2], [0.1, 0.4, 0.5]],
        "baseline_bucket_thresholds": [0.5],
    },
    "always_coarse": {"baseline_name": "always_coarse"},
    "no_vision": {"baseline_name": "no_vision"},
    "pruning": {"baseline_name": "vision_token_pruning_proxy", "baseline_pruning_ratio": 0.5},
    "granularity": {"baseline_name": "multi_granularity_proxy", "baseline_pool_factor": 2},
    "merging_inside": {
        "lambda_cost": 0.02,
        "baseline_reduction": "merging",
        "baseline_merge_ratio": 0.5,
    },
}
VIEWS = [view for policy in POLICIES.values() for view in reduced_views(PolicySettings(**policy))]
SETS = ("synth_mmbench", "synth_mmmu", "synth_textvqa")
EXPERIMENTS = {
    name: {"title": name, "policy": policy, "mode": "live", "seeds": [0]}
    for name, policy in POLICIES.items()
}


def live_settings(layout: Layout) -> Settings:
    return settings_of(layout, {"experiments": EXPERIMENTS, "eval": {"num_shards": 1}})


@pytest.fixture
def observed(fresh: Layout) -> Layout:
    settings = live_settings(fresh)
    folder = fresh.stage("vovnet", 0, 2)
    folder.mkdir(parents=True)
    save_weights(make_inference(settings).model, folder / "model.safetensors")
    for name in SETS:
        observe_shard(settings, fresh, "vovnet", 0, name, 0, 1)
        gather(settings, fresh, "vovnet", 0, name)
        observe_views_shard(settings, fresh, "vovnet", 0, name, VIEWS, 0, 1)
        gather_views(settings, fresh, "vovnet", 0, name, VIEWS)
    return fresh


def test_live_equals_replay(observed: Layout) -> None:
    """Predictions, actions and costs, for every kind of policy on every set."""
    settings = live_settings(observed)
    inference = make_inference(settings)
    taken: set[int] = set()
    for name in SETS:
        questions = load_questions(settings, observed, name)
        stored = load_observed(observed, "vovnet", 0, questions, views=VIEWS)
        for experiment in POLICIES:
            (policy,) = policy_points(settings, experiment)
            stored_outcome = replay(policy, questions, stored)
            live = LivePolicy(inference, observed, policy)
            outcome = live_outcome(questions, policy, [live(item) for item in questions.samples])
            assert outcome.texts.tolist() == stored_outcome.texts.tolist()
            assert outcome.views.tolist() == stored_outcome.views.tolist()
            for column in ("actions", "costs", "vision_tokens", "scores", "parse_fallback"):
                found, expected = getattr(outcome, column), getattr(stored_outcome, column)
                assert found.tolist() == expected.tolist(), (name, experiment, column)
            if policy.fallback_mode:
                assert outcome.fallback is not None and stored_outcome.fallback is not None
                assert outcome.fallback.tolist() == stored_outcome.fallback.tolist()
            taken |= set(outcome.actions.tolist())
    assert taken == {-1, 0, 1, 2}


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
        inference, "answer", lambda s, view, *rest: views.append(view) or original(s, view, *rest)
    )
    (policy,) = policy_points(settings, "fallback")
    questions = load_questions(settings, observed, "synth_mmmu")
    live = LivePolicy(inference, observed, policy)
    outcome = live_outcome(questions, policy, [live(item) for item in questions.samples])
    assert outcome.fallback is not None and outcome.fallback.any() and not outcome.fallback.all()
    assert views == ["full" if triggered else "no" for triggered in outcome.fallback]
    for sample, view, cost in zip(questions.samples, views, outcome.costs, strict=True):
        assert cost == inference.view_tokens(sample, view) * policy.cost_scale
        assert (cost > 0) == (view == "full")


def test_images_are_loaded_only_to_be_looked_at(observed: Layout) -> None:
    settings = live_settings(observed)
    inference = make_inference(settings)
    sample = load_questions(settings, observed, "synth_mmmu").samples[0]
    gone = [image.model_copy(update={"path": "images/gone.png"}) for image in sample.images]
    blind = sample.model_copy(update={"images": gone})
    (policy,) = policy_points(settings, "no_vision")
    assert LivePolicy(inference, observed, policy)(blind).action == 0


def test_oracles_cannot_run_live(observed: Layout) -> None:
    settings = live_settings(observed)
    policy = settings.policy.model_copy(update={"baseline_name": "oracle"})
    with pytest.raises(ConfigError, match="reads the answers"):
        LivePolicy(make_inference(settings), observed, policy)


def test_live_results(observed: Layout) -> None:
    settings = live_settings(observed)
    live_experiment(settings, observed, "vovnet")
    results = read_results(observed.eval("vovnet") / "results.csv")
    assert results["dataset"].tolist() == list(SETS)
    assert (results["latency_p50_ms"] > 0).all()
    assert (results["latency_p90_ms"] >= results["latency_p50_ms"]).all()
    assert results["mem_peak_p50_mb"].isna().all() or torch.cuda.is_available()


def test_profile_counts_every_part(observed: Layout) -> None:
    settings = live_settings(observed)
    (policy,) = policy_points(settings, "vovnet")
    live = LivePolicy(make_inference(settings), observed, policy)
    answers = [live(item) for item in load_questions(settings, observed, "synth_mmmu").samples]
    profile = profile_of(answers)
    assert sum(profile["facts"]["time_shares"].values()) == pytest.approx(1)
    assert profile["facts"]["tokens_s"] > 0

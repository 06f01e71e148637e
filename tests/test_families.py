"""A second family from training to live answers, at its own size of patches."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from support.families import model_of
from support.worlds import settings_of
from vovnet.core.layout import Layout
from vovnet.evaluation.questions import load_questions
from vovnet.evaluation.replay import load_observed, replay
from vovnet.inference.engine import Inference
from vovnet.inference.live import LivePolicy
from vovnet.inference.observe import observe_samples, observe_shard
from vovnet.inference.shards import gather
from vovnet.model.vovnet import VoVNet, load_trained, load_weights
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.training.stage import train_stage
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

SET = "synth_mmmu"  # its questions have one image or several
VIEW = "full+merge-cosine-0.5"
POLICIES: tuple[dict[str, Any], ...] = (
    {"lambda_cost": 0.0},
    {"baseline_name": "always_full"},
    {"baseline_name": "always_view", "view": VIEW},
)


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8}])
def test_a_family_is_trained_observed_and_run_live(
    fresh: Layout, lora: dict[str, int] | None
) -> None:
    model = model_of("qwen2_5_vl", fresh.root / "model", patch_size=14)
    overrides = {
        "model": {**model, "gradient_checkpointing": True, "lora": lora},
        "vision_budget": {"coarse_long_side": 56, "full_long_side": 112, "patch_size": 14},
        "eval": {"num_shards": 1},
        "training": {"batch_size": 8, "stage1_epochs": 0.2, "stage2_epochs": 0.2},
    }
    settings = settings_of(fresh, overrides)
    before = dict(VoVNet(settings).vlm.named_parameters())
    trained = TrainedModel(settings, fresh, "vovnet", 0)
    for stage in (1, 2):
        train_stage(trained, stage)
    weights = fresh.stage("vovnet", 0, 2)
    after = VoVNet(settings)
    load_weights(after, weights)
    changed = [
        name for name, value in after.vlm.named_parameters() if not torch.equal(value, before[name])
    ]
    network = load_trained(settings, weights, torch.device("cpu"))
    assert changed and all("lora_" in name for name in changed) == (lora is not None)

    for views in ([], [VIEW]):
        observe_shard(trained, SET, 0, 1, views)
        gather(trained, SET, views)
    questions = load_questions(settings, fresh, SET)
    stored = load_observed(trained, questions, views=[VIEW])
    inference = Inference(network, settings)
    for chosen in POLICIES:
        policy = settings.policy.model_copy(update=chosen)
        live = LivePolicy(inference, fresh, policy)
        rows = replay(policy, questions, stored).rows
        answers = [live(sample).answer for sample in questions.samples]
        assert [answer.text for answer in answers] == rows["prediction"].tolist()
        assert [answer.vision_tokens for answer in answers] == rows["vision_tokens"].tolist()

    views = [*ACTIONS, VIEW]
    found = []
    for reuse, batch_size in ((True, 16), (False, 16), (True, 1)):
        evaluated = {"eval": {"cache_reuse": reuse, "batch_size": batch_size}}
        inference = Inference(network, settings_of(fresh, overrides | evaluated))
        made = observe_samples(inference, fresh, questions.samples, views)
        found.append([[row.answers[view].token_ids for view in views] for row in made.rows])
    assert found[0] == found[1] == found[2]
    assert len({answer for row in found[0] for answer in row}) > 4

"""What each ablation of the embedded suite trains, on one batch of real questions."""

from __future__ import annotations

import pytest
import torch

from support.models import objective_of
from support.repository import ROOT
from vovnet.config import load, run_settings
from vovnet.config.experiments import stage1_owner, trained_runs
from vovnet.core.layout import Layout
from vovnet.pipeline.keys import step_digest
from vovnet.training.examples import Example
from vovnet.training.objective import Objective

SUITE = load([ROOT / "config/config.yaml"])
ABLATIONS = [run for run in trained_runs(SUITE) if run != "vovnet"]
Trained = tuple[Objective, list[Example]]


def ablation(layout: Layout, run: str) -> Trained:
    return objective_of(layout, SUITE.runs[run])


def gradients(objective: Objective, examples: list[Example]) -> dict[str, torch.Tensor]:
    objective.zero_grad()
    objective(examples).loss.backward()
    named = objective.model.named_parameters()
    return {name: value.grad.clone() for name, value in named if value.grad is not None}


@pytest.mark.parametrize("run", ABLATIONS)
def test_an_ablation_shares_stage_1_and_trains_its_own_stage_2(run: str) -> None:
    assert stage1_owner(SUITE, run) == "vovnet"
    digests = {
        name: step_digest(SUITE, "train", run=name, seed=0, stage=2) for name in ("vovnet", run)
    }
    assert digests["vovnet"] != digests[run]
    changed = {
        key: value
        for key, value in run_settings(SUITE, run).policy.model_dump().items()
        if value != SUITE.policy.model_dump()[key]
    }
    assert changed == SUITE.runs[run]["policy"] and len(changed) == 1, "it differs in one thing"


@pytest.mark.parametrize(
    ("run", "num_extra"),
    [("vovnet", 0), ("features_entropy", 1), ("features_margin", 1), ("features_both", 2)],
)
def test_features_reach_the_head(fresh: Layout, run: str, num_extra: int) -> None:
    """The head has an input per signal, and its weight learns once the output does."""
    objective, examples = ablation(fresh, run)
    head, width = objective.model.head, 2 * objective.model.vlm.hidden_size
    assert head.hidden.in_features == width + num_extra
    torch.nn.init.normal_(head.out.weight, std=0.1)
    found = gradients(objective, examples)["head.hidden.weight"]
    assert (found.abs().amax(dim=0)[width:] > 0).all()
    assert found.abs().amax(dim=0)[:width].max() > 0


def test_a_soft_mixture_trains_every_view(fresh: Layout) -> None:
    """Its loss weighs each view by pi; the straight-through one takes the sampled view's."""
    objective, examples = ablation(fresh, "soft_mixture")
    with torch.no_grad():
        scores_BA, losses_BA = objective.evaluate(examples)
        result = objective(examples)
    policy, costs_BA = objective.settings.policy, objective.costs(examples)
    values_BA = (scores_BA - policy.lambda_cost * costs_BA) / policy.entropy_weight
    pi_BA = torch.softmax(values_BA, dim=1)
    entropy_B = -(pi_BA * pi_BA.log()).sum(dim=1)
    expected_B = (pi_BA * (losses_BA + policy.lambda_cost * costs_BA)).sum(dim=1)
    expected_B -= policy.entropy_weight * entropy_B
    torch.testing.assert_close(result.loss, expected_B.sum(), atol=1e-3, rtol=1e-5)
    assert objective._look_losses(examples).requires_grad
    hard, same = ablation(fresh, "vovnet")
    with torch.no_grad():
        sampled = hard(same).loss
    assert abs(float(sampled - result.loss)) > 1e-3


def test_without_a_cost_term_the_size_of_an_image_does_not_matter(fresh: Layout) -> None:
    """The gradient of the head does not change with the price of looking; the default's does."""
    for run, moves in (("no_cost", False), ("vovnet", True)):
        objective, examples = ablation(fresh, run)
        before = gradients(objective, examples)["head.out.bias"]
        dear = objective.settings.policy.model_copy(update={"cost_scale": 10.0})
        objective.settings = objective.settings.model_copy(update={"policy": dear})
        after = gradients(objective, examples)["head.out.bias"]
        assert bool((before - after).abs().max() > 1e-6) == moves, run


def test_a_binary_space_never_trains_coarse(fresh: Layout) -> None:
    objective, examples = ablation(fresh, "binary")
    result = objective(examples)
    assert result.sums["action_share_coarse"] == 0
    shares = result.sums["action_share_no"] + result.sums["action_share_full"]
    assert shares == pytest.approx(len(examples))
    bias = gradients(objective, examples)["head.out.bias"]
    assert bias[1] == 0 and bias[0] != 0 and bias[2] != 0


def test_every_ablation_is_evaluated_over_all_seeds() -> None:
    for name in SUITE.targets["ablations"]:
        experiment = SUITE.experiments[name]
        assert experiment.seeds is None and len(SUITE.seeds) == 3
        assert experiment.sweep == SUITE.experiments["pareto_vovnet"].sweep

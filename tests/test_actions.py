"""Suites with other lists of actions: training, observation, and what stays the same."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from support.models import objective_of
from support.worlds import settings_of
from vovnet.core.layout import Layout
from vovnet.core.records import OBSERVATION_COLUMNS, read_table, signal_columns
from vovnet.data import images as data_images
from vovnet.data.images import load_images
from vovnet.data.sets import load_set, load_train
from vovnet.inference.engine import Inference
from vovnet.inference.images import images_ahead
from vovnet.inference.observe import observe_shard
from vovnet.inference.shards import gather
from vovnet.model.vovnet import VoVNet, load_trained
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.training.examples import TrainingSet
from vovnet.training.objective import Objective
from vovnet.training.stage import train_stage
from vovnet.views import num_vision_tokens, view_budget

FIVE = ["no", "side-64", "side-96", "full", "full+merge-cosine-0.5"]
SHORT: dict[str, Any] = {
    "batch_size": 8,
    "stage1_epochs": 0.5,
    "stage2_epochs": 0.5,
    "calibration_samples": 8,
}
BINARY_TOLERANCE = 1e-5
"""Of a step's loss, and of a weight at the end. Measured: 0 with sampled actions; with the soft
mixture, whose batches differ in shape, 1e-6 of a loss and less than that of a weight."""


def train(layout: Layout, overrides: dict[str, Any]) -> tuple[TrainedModel, list[dict[str, Any]]]:
    """Both stages in a layout, and the log of the second."""
    trained = TrainedModel(settings_of(layout, overrides), layout, "vovnet", 0)
    for stage in (1, 2):
        train_stage(trained, stage)
    return trained, log_of(trained, 2)


def log_of(trained: TrainedModel, stage: int) -> list[dict[str, Any]]:
    text = (trained.stage(stage) / "train_log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_five_actions_train_and_are_observed(fresh: Layout) -> None:
    """By configuration alone, in whatever spelling; stage 1 draws its views from them too."""
    training = SHORT | {
        "stage1_baseline_name": "random_policy_matched",
        "stage1_target_ratios": [0.1, 0.2, 0.2, 0.3, 0.2],
    }
    listed = [False, 64, 96, "full", "full+merge-cosine-norm-0.50"]
    overrides = {"actions": listed, "training": training, "eval": {"num_shards": 1}}
    trained, log = train(fresh, overrides)
    assert trained.settings.actions == FIVE
    assert {f"ce_{view}" for view in FIVE} <= set(log[0])
    for line in log:
        shares = [line[f"action_share_{view}"] for view in FIVE]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert all(np.isfinite(line[f"ce_{view}"]) for view in FIVE)
    drawn = {name for line in log_of(trained, 1) for name in line if name.startswith("ce_")}
    assert drawn == {f"ce_{view}" for view in FIVE}
    calibration = json.loads((trained.checkpoint / "calibration.json").read_text())
    assert set(calibration["pairs"]) == {f"{b}-{a}" for a, b in combinations(FIVE, 2)}

    for views in ((), ("full+pool-2",)):
        observe_shard(trained, "synth_mmmu", 0, 1, views)
        gather(trained, "synth_mmmu", views)
    folder = trained.observations("synth_mmmu")
    signals = read_table(folder / "signals.parquet", signal_columns(FIVE))
    for sample, row in zip(
        load_set(trained.settings, fresh, "synth_mmmu"), signals.itertuples(), strict=True
    ):
        sizes = [(image.width, image.height) for image in sample.images]
        expected = [num_vision_tokens(sizes, view, trained.settings.vision_budget) for view in FIVE]
        assert [signals.loc[row.Index, f"tokens_{view}"] for view in FIVE] == expected
    for view in (*FIVE, "full+pool-2"):
        table = read_table(folder / f"{view}.parquet", OBSERVATION_COLUMNS)
        assert table["id"].tolist() == signals["id"].tolist()
        if view in FIVE:
            assert table["vision_tokens"].tolist() == signals[f"tokens_{view}"].tolist()
    model = load_trained(trained.settings, trained.checkpoint, torch.device("cpu"))
    assert model.head.out.out_features == len(FIVE)


@pytest.mark.parametrize("straight", [True, False])
def test_two_actions_are_the_binary_ablation(
    fresh: Layout, tmp_path_factory: pytest.TempPathFactory, straight: bool
) -> None:
    """A head that may not choose COARSE learns what a suite without it does."""
    other = Layout(tmp_path_factory.mktemp("two"))
    (other.root / "data").symlink_to(fresh.root / "data", target_is_directory=True)
    policy: dict[str, Any] = {"use_straight_through": straight}
    shared = {"training": SHORT}
    binary, ablated = train(fresh, shared | {"policy": policy | {"action_space": "binary"}})
    two, alone = train(other, shared | {"policy": policy, "actions": ["no", "full"]})
    first = [load_file(trained.stage(1) / "model.safetensors") for trained in (binary, two)]
    for name, value in first[0].items():
        assert name.startswith("head.") or torch.equal(value, first[1][name]), name
    for key in ("loss", "ce_no", "ce_full", "expected_cost", "action_share_full"):
        found, expected = ([line[key] for line in log] for log in (alone, ablated))
        assert found == pytest.approx(expected, abs=BINARY_TOLERANCE), key
    assert {line["action_share_coarse"] for line in ablated} == {0.0}
    weights = [load_file(trained.weights) for trained in (binary, two)]
    for name, value in weights[1].items():
        if name.startswith("head.out."):
            torch.testing.assert_close(
                value, weights[0][name][[0, 2]], atol=BINARY_TOLERANCE, rtol=0
            )
            assert not weights[0][name][1].any(), "COARSE learned nothing"
        else:
            torch.testing.assert_close(value, weights[0][name], atol=BINARY_TOLERANCE, rtol=0)


def test_suites_share_the_noise_of_their_common_actions(fresh: Layout) -> None:
    lists = [["no", "coarse", "full"], ["no", "full"], ["no", "side-96", "full", "coarse"], FIVE]
    noise = []
    for actions in lists:
        settings = settings_of(fresh, {"actions": actions})
        samples = load_train(settings, fresh)[:3]
        model = VoVNet(settings)
        examples = TrainingSet(samples, lambda _: [], model.vlm, settings, 2, 3)
        noise.append(
            [dict(zip(actions, examples[row].gumbel_A.tolist(), strict=True)) for row in range(3)]
        )
    for rows in zip(*noise, strict=True):
        for view in ("no", "coarse", "full"):
            assert len({row[view] for row in rows if view in row}) == 1
    assert noise[0][0] != noise[0][1]


def test_images_that_are_too_large_together_are_decoded_one_at_a_time(
    fresh: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(fresh, {})
    sample = load_set(settings, fresh, "synth_mmmu")[0]
    kept = load_images(settings, fresh, sample)
    monkeypatch.setattr(data_images, "MAX_PIXELS_KEPT", 0)
    read = load_images(settings, fresh, sample)
    assert isinstance(kept, list) and not isinstance(read, list) and len(read) == len(kept)
    assert [image.tobytes() for image in read] == [image.tobytes() for image in kept]


def test_images_are_not_kept_at_full_size_for_a_beam_search(fresh: Layout) -> None:
    """A batch of questions about one large picture would hold it once for each of them."""
    settings = settings_of(fresh, {"eval": {"num_beams": 2}})
    sample = load_set(settings, fresh, "synth_mmmu")[0]
    model = Inference(VoVNet(settings), settings).vlm
    budget = view_budget("full", settings.vision_budget)
    assert budget is not None
    (loaded,) = images_ahead(settings, fresh, model, [(sample, [budget])])
    assert not isinstance(loaded.images, list)
    assert len(loaded.images) == len(sample.images) > 0


@pytest.mark.parametrize("view", ["side-96", "full+merge-cosine-0.5", "coarse+prune-stride-0.5"])
def test_training_shows_a_view_as_inference_does(fresh: Layout, view: str) -> None:
    """The loss of the answer that the model generates is minus its log-probability."""
    settings = settings_of(fresh, {"actions": ["no", "full", view]})
    torch.manual_seed(0)
    model = VoVNet(settings).eval()
    inference = Inference(model, settings)
    samples = load_set(settings, fresh, "synth_mmmu")[:6]
    images = [load_images(settings, fresh, sample) for sample in samples]
    answers = inference.answer(samples, view, images)
    said = [
        sample.model_copy(update={"answer_text": answer.text})
        for sample, answer in zip(samples, answers, strict=True)
        if answer.generated_tokens < settings.eval.max_new_tokens
    ]
    load = dict(zip([sample.id for sample in samples], images, strict=True))
    examples = TrainingSet(said, lambda item: load[item.id], model.vlm, settings, 2, len(said))
    expected = {s.id: a.log_probability for s, a in zip(samples, answers, strict=True)}
    objective = Objective(model, settings, 2)
    shown = [examples[row] for row in range(len(said))]
    with torch.no_grad():
        losses_B = objective.cross_entropy(shown, [view] * len(shown))
    for place, loss in zip(examples.order, losses_B.tolist(), strict=True):
        assert -loss == pytest.approx(expected[said[int(place)].id], abs=1e-4)


def test_the_tower_learns_through_a_reduction(fresh: Layout) -> None:
    """Gradients are finite and reach the tower through merged and pruned tokens."""
    views = ["no", "full", "full+merge-cosine-0.5", "full+prune-topk_norm-0.25", "full+pool-2"]
    objective, examples = objective_of(fresh, {"actions": views})
    objective.train()
    for view in views[2:]:
        objective.zero_grad()
        objective.cross_entropy(examples[:4], [view] * 4).mean().backward()
        for name, weight in objective.model.vlm.model.model.visual.named_parameters():
            if weight.grad is not None:
                assert torch.isfinite(weight.grad).all(), (view, name)
        patches = objective.model.vlm.model.model.visual.patch_embed.proj.weight.grad
        assert patches is not None and float(patches.abs().max()) > 0, view


def test_an_example_is_encoded_once_per_budget(
    fresh: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions = ["no", "coarse", "full", "full+pool-2", "coarse+prune-stride-0.5"]
    objective, examples = objective_of(fresh, {"actions": actions})
    vlm = objective.model.vlm
    encode, encoded = vlm.encode, []

    def counted(pixels: Any, *, attention: bool) -> Any:
        encoded.append(len(pixels))
        return encode(pixels, attention=attention)

    monkeypatch.setattr(vlm, "encode", counted)
    with torch.no_grad():
        scores_BA, losses_BA = objective.evaluate(examples[:3])
    assert scores_BA.shape == losses_BA.shape == (3, 5)
    assert encoded == [2 * 3], "two budgets of three examples"
    assert len(examples[0].pixels) == 2

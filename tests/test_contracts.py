"""Contracts between the parts, where no part's own test holds them. Numbers are the design's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from support.live import live_settings
from support.models import blank_gold, false_gold, make_inference
from support.projects import plan, planned
from support.worlds import SETS, settings_of
from vovnet import cli
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.images import load_images
from vovnet.data.samples import write_samples
from vovnet.data.sets import load_set
from vovnet.evaluation.questions import load_questions
from vovnet.evaluation.replay import load_observed, replay
from vovnet.inference.engine import Inference
from vovnet.inference.live import LivePolicy
from vovnet.model.sequences import Batch
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

DEPLOYABLE: dict[str, dict[str, Any]] = {
    "learned": {"lambda_cost": 0.02},
    "fallback": {"lambda_cost": 5.0, "fallback_mode": "full", "fallback_entropy_threshold": 0.5},
    "uncertainty": {"baseline_name": "uncertainty_threshold", "baseline_threshold": 0.3},
    "random": {
        "baseline_name": "random_policy_matched",
        "baseline_target_ratios": [0.3, 0.3, 0.4],
    },
    "always_full": {"baseline_name": "always_full"},
}


@pytest.mark.parametrize("name", SETS)
def test_gold_changes_no_action(observed: Layout, tmp_path: Path, name: str) -> None:
    """Contract 1: replayed with a false answer and live without one; only the score may follow."""
    settings = live_settings(observed)
    chosen = settings.data.eval_sets[name]
    other = Layout(tmp_path / "other")
    for folder in ("observations", f"data/{chosen.dataset}/images"):
        (other.root / folder).parent.mkdir(parents=True, exist_ok=True)
        (other.root / folder).symlink_to(observed.root / folder, target_is_directory=True)
    samples = load_set(settings, observed, name)
    write_samples(other.samples(chosen.dataset, chosen.split), map(false_gold, samples))
    true, false = (load_questions(settings, layout, name) for layout in (observed, other))
    assert [item.answer for item in true.samples] != [item.answer for item in false.samples]
    inference = make_inference(settings)
    for policy_settings in DEPLOYABLE.values():
        policy = settings.policy.model_copy(update=policy_settings)
        outcomes = [
            replay(
                policy,
                questions,
                load_observed(TrainedModel(settings, layout, "vovnet", 0), questions),
            )
            for layout, questions in ((observed, true), (other, false))
        ]
        for column in ("action", "prediction", "cost", "vision_tokens"):
            first, second = (outcome.rows[column].tolist() for outcome in outcomes)
            assert first == second, (policy_settings, column)
        live = LivePolicy(inference, other, policy)
        answers = [live(blank_gold(item)) for item in true.samples[:4]]
        assert [int(item.decision.actions[0]) for item in answers] == outcomes[0].actions[
            :4
        ].tolist()
        assert [item.answer.text for item in answers] == outcomes[0].rows["prediction"][:4].tolist()


class Widths:
    """How many tokens each call of the language model processed, and what it was given."""

    def __init__(self, inference: Inference) -> None:
        self.calls: list[tuple[int, bool]] = []
        self._vlm, self._embed = inference.vlm, inference.vlm.embed

    def _record(self, batch: Batch) -> torch.Tensor:
        entered_BTD = self._embed(batch)
        self.calls.append((entered_BTD.shape[1], bool(batch.images)))
        return entered_BTD

    def __enter__(self) -> list[tuple[int, bool]]:
        self._vlm.embed = self._record  # type: ignore[method-assign]
        return self.calls

    def __exit__(self, *_: object) -> None:
        del self._vlm.embed


def samples_and_images(layout: Layout) -> tuple[Inference, list[Sample], list[list[Any]]]:
    settings = settings_of(layout)
    samples = load_set(settings, layout, "synth_mmmu")
    images = [load_images(settings, layout, sample) for sample in samples]
    assert {len(shown) for shown in images} == {1, 2}
    return make_inference(settings), samples, images


def test_the_text_pass_is_as_long_as_its_text(fresh: Layout) -> None:
    """Contract 2: one call, as wide as the longest question, with no place for an image."""
    inference, samples, _ = samples_and_images(fresh)
    with Widths(inference) as calls:
        text_pass = inference.text_pass(samples)
    longest = max(len(prompt.text_ids) for prompt in text_pass.prompts)
    assert calls == [(longest, False)]
    tokens = [signals["text_tokens"] for signals in text_pass.signals]
    assert tokens == [len(prompt.text_ids) for prompt in text_pass.prompts]


def test_the_signals_say_what_is_answered_first(fresh: Layout) -> None:
    """Contract 2: the position they are read at emits the first token of the NO answer."""
    inference, samples, _ = samples_and_images(fresh)
    text_pass = inference.text_pass(samples)
    answers = inference.answer(samples, "no", [[] for _ in samples])  # computed anew
    first_B = text_pass.reading.logits_BV.argmax(dim=-1).tolist()
    for sample, token, answer in zip(samples, first_B, answers, strict=True):
        said = "" if token == inference.vlm.end_id else inference.vlm.decode_text([token])
        assert answer.text.startswith(said), sample.id
    probs_BV = torch.softmax(text_pass.reading.logits_BV.double(), dim=-1)
    entropy_B = -(probs_BV * probs_BV.log()).sum(dim=-1)
    found = [signals["entropy"] for signals in text_pass.signals]
    assert found == pytest.approx(entropy_B.tolist(), abs=1e-4)


@pytest.mark.parametrize("view", ACTIONS)
def test_a_view_enters_the_model_at_its_cost(fresh: Layout, view: str) -> None:
    """Contract 6: the widths of the tensors say it, with two marks around each image."""
    inference, samples, images = samples_and_images(fresh)
    for sample, shown in zip(samples, images, strict=True):
        with Widths(inference) as calls:
            (answer,) = inference.answer([sample], view, [shown])
        (prompt,) = inference.prompts([sample])
        marks = 0 if view == "no" else 2 * len(shown)
        width = len(prompt.text_ids) + answer.vision_tokens + marks
        assert calls[0] == (width, view != "no")
        assert answer.vision_tokens == inference.view_tokens(sample, view)
        assert all(call == (1, False) for call in calls[1:]), "free generation, token by token"


def test_a_training_mix_with_the_evaluation_split_is_stopped(
    fresh: Layout, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Contract 7: the gate fails the run."""
    leaking = fresh.root / "leaking.yaml"
    leaking.write_text(
        f"results_dir: {fresh.root}\n"
        "data: {train: [{dataset: synth_mmbench, split: dev}], leakage: {fail_on: [id]}}\n"
    )
    (fresh.root / "data").unlink()
    (fresh.root / "data").mkdir()
    for dataset in (world / "data").iterdir():
        (fresh.root / "data" / dataset.name).symlink_to(dataset)
    assert cli.main(["leakage", "--config", str(world / "config.yaml"), "--config", str(leaking)])
    assert "'synth_mmbench' shares id with the training mix" in capsys.readouterr().err
    assert not fresh.leakage_report.exists()


@pytest.mark.parametrize("stage", [1, 2])
def test_the_gate_stands_before_training(project: Path, stage: int) -> None:
    """Contract 7: no stage can be made without it, and it reads every split that is involved."""
    target = plan().stage("vovnet", 0, stage)
    jobs = planned(project, str(target), "--configfile", "config/test.yaml")
    assert jobs["leakage"] == 1
    assert jobs["prepare"] == len(plan().all_samples) == 6

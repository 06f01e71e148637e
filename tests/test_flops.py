"""FLOPs that are counted from a model's configuration against torch's own counter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from support.families import model_of
from support.models import make_inference
from support.worlds import settings_of
from vovnet.core.layout import Layout
from vovnet.data.images import load_images
from vovnet.data.sets import load_set
from vovnet.inference.engine import Inference
from vovnet.model.flops import LanguageModel, VisionTower
from vovnet.views import parse_view, view_budget

VIEWS = (
    "no",
    "coarse",
    "full",
    "side-96",
    "full+merge-cosine-0.5",
    "full+prune-stride-0.25",
    "coarse+pool-2",
    "full+visionzip-0.25",
    "full+fastv-layer1-0.25",
)
TOLERANCE = 0.01
"""Relative, as asked. Measured: the two counts are equal in every case."""


def torch_flops(run: Callable[[], Any]) -> int:
    """The counter knows no fused attention of the CPU, so that attention is done in products."""
    plain = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.inference_mode(), plain:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "family, reuse", [("qwen3_vl", True), ("qwen3_vl", False), ("qwen2_5_vl", True)]
)
@pytest.mark.parametrize("view", VIEWS)
def test_flops_of_a_view_are_those_of_torch(
    fresh: Layout, view: str, family: str, reuse: bool
) -> None:
    """Text pass, tower and language model of questions with one image and with several."""
    model = model_of(family, fresh.root / "model")
    settings = settings_of(fresh, {"model": model, "eval": {"cache_reuse": reuse}})
    inference = make_inference(settings)
    budget = view_budget(view, settings.vision_budget)
    samples = load_set(settings, fresh, "synth_mmmu")
    by_images = {len(sample.images): sample for sample in samples}
    assert len(by_images) > 1
    for sample in by_images.values():
        text_pass = inference.text_pass([sample])
        signals = text_pass.signals[0]
        found = torch_flops(lambda chosen=sample: inference.text_pass([chosen]))
        assert signals["flops_text_pass"] == pytest.approx(found, rel=TOLERANCE)

        images = [load_images(settings, fresh, sample)]
        needs = parse_view(view).needs_attention
        encoded = inference.encode(images, budget, attention=needs)
        tower = torch_flops(
            lambda shown=images, told=needs: inference.encode(shown, budget, attention=told)
        )
        reducing = torch_flops(lambda shown=encoded: reduce_all(shown, view))

        def answer(with_pass: bool, chosen: Any = (sample, images, encoded, text_pass)) -> Any:
            shown = chosen[1:3] if with_pass else ([chosen[1][0]], chosen[2])
            read = chosen[3] if with_pass else None
            return inference.answer([chosen[0]], view, shown[0], read, shown[1])[0]

        counted = answer(True).flops
        assert counted is not None
        assert counted.vision_tower == pytest.approx(tower, rel=TOLERANCE)
        after = torch_flops(lambda run=answer: run(True)) - reducing
        assert counted.language_model == pytest.approx(after, rel=TOLERANCE)
        alone = torch_flops(lambda run=answer: run(False)) - reducing
        assert counted.language_model_alone == pytest.approx(alone, rel=TOLERANCE)
        assert (counted.language_model < counted.language_model_alone) == reuse


def reduce_all(encoded: Any, view: str) -> None:
    for shown in encoded:
        for image in shown:
            image.reduced(parse_view(view).reductions)


def test_a_cached_prefix_saves_its_own_pass() -> None:
    """By hand: one layer, hidden size 2, one head of size 2, MLP of 3, 5 words."""
    model = LanguageModel(1, 2, 1, 1, 2, 3, 5)
    weights = 4 * 2 * 2 + 3 * 2 * 3  # q, k, v and o; three matrices of the MLP
    logits = 2 * 5
    assert model.prefill(3) == 2 * (3 * weights + 2 * 2 * 3 * 3 + logits)
    assert model.prefill(1, past=3) == 2 * (weights + 2 * 2 * 1 * 4 + logits)
    assert model.decoding(3, 2) == model.prefill(1, 3) + model.prefill(1, 4)


def test_images_attend_to_themselves_alone() -> None:
    tower = VisionTower(2, 8, 16, 12, 2, 4, 1)
    assert tower.encode([(2, 3), (4, 1)]) == tower.encode([(2, 3)]) + tower.encode([(4, 1)])
    assert tower.encode([]) == 0


def test_layers_with_windows_count_the_pairs_within_them() -> None:
    """A grid of 2 x 5 tokens is cut into windows of 2 x 2, 2 x 2 and 2 x 1."""
    plain, windowed = (VisionTower(3, 8, 16, 12, 2, 4, 1, 3, layers, 2) for layers in (0, 2))
    saved = (2 * 5 * 4) ** 2 - 2 * (2 * 2 * 4) ** 2 - (2 * 1 * 4) ** 2
    assert plain.encode([(2, 5)]) - windowed.encode([(2, 5)]) == 2 * 2 * 2 * 8 * saved


def test_counting_does_not_depend_on_the_batch(fresh: Layout) -> None:
    settings = settings_of(fresh)
    inference: Inference = make_inference(settings)
    samples = load_set(settings, fresh, "synth_mmbench")[:4]
    images = [load_images(settings, fresh, sample) for sample in samples]
    together = inference.answer(samples, "full", images, inference.text_pass(samples))
    for sample, shown, answer in zip(samples, images, together, strict=True):
        alone = inference.answer([sample], "full", [shown], inference.text_pass([sample]))
        assert alone[0].flops == answer.flops

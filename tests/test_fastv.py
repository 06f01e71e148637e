"""FastV against a slow reference: FULL, whose later layers do not see what is dropped."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AttentionInterface
from transformers.models.qwen3_vl.modeling_qwen3_vl import eager_attention_forward

from support.families import FAMILIES, model_of
from support.models import encode_images, make_inference
from support.worlds import settings_of
from vovnet.config import ModelSettings, PolicySettings, VisionBudget, validate
from vovnet.core.errors import ConfigError
from vovnet.core.layout import Layout
from vovnet.data.images import load_images
from vovnet.data.sets import load_set
from vovnet.inference.observe import observe_samples
from vovnet.model.fastv_padded import DroppedPrefix
from vovnet.model.loading import load_vlm
from vovnet.model.packed_cache import DroppedCache
from vovnet.model.qwen_vl import QwenVL
from vovnet.model.sequences import TokenSequence
from vovnet.policies.decide import further_views, setting_columns
from vovnet.views import parse_view, view_budget
from vovnet.views.reductions.base import kept_tokens
from vovnet.views.reductions.fastv import Fastv

BUDGETS = VisionBudget()
TOLERANCE = 2e-5
"""Of logits in float32 between two ways of computing the same; measured below 1e-5."""

QUESTIONS = [
    ("What is this?", [(128, 128)]),
    ("Which of these two shapes is it?", [(128, 96), (90, 128)]),
    ("Why?", [(40, 128)]),
    ("Is there a picture at all?", []),
]
"""Words, and the sizes of images in pixels: grids of 4 x 4, 3 x 4 and 4 x 3, and 4 x 1 tokens."""


@pytest.fixture(scope="module", params=itertools.product(FAMILIES, ["sdpa", "varlen"]))
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> QwenVL:
    """With padded batches, and with packed ones."""
    family, attention = request.param
    model = model_of(family, tmp_path_factory.mktemp("model"))
    return load_vlm(ModelSettings(**model, attn_implementation=attention), BUDGETS).eval()


def droppings(vlm: QwenVL, ratio: float) -> list[Fastv]:
    """Behind every layer but the last."""
    count = vlm.flops.language_model.num_hidden_layers
    names = (f"fastv-layer{number}-{ratio:g}" for number in range(1, count))
    found = [parse_view(name).dropping for name in names]
    return [item for item in found if isinstance(item, Fastv)]


def sequences(vlm: QwenVL, dropping: Fastv | None) -> list[TokenSequence]:
    draw, made = np.random.default_rng(0), []
    for text, sizes in QUESTIONS:
        images = [
            Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
            for width, height in sizes
        ]
        (features,) = encode_images(vlm, [images], view_budget("full", BUDGETS))
        made.append(replace(vlm.sequence(vlm.prompt(text), features), dropping=dropping))
    return made


@dataclass
class Reference:
    """One prompt, over all of which everything is computed anew for each token.

    `unseen_T` are the tokens that no layer behind the ranking one attends to. They are found in
    the first pass, from the attention of the prompt's last token.
    """

    vlm: QwenVL
    sequence: TokenSequence
    dropping: Fastv
    unseen_T: Tensor | None = None
    text: list[int] = field(default_factory=list)

    def logits(self) -> Tensor:
        """Of the token that follows prompt and text, (V,)."""
        own = self.sequence
        count, longer = len(self.text), own
        if count:
            places_3T = own.next_position + torch.arange(count).expand(3, -1)
            longer = TokenSequence(
                torch.cat([own.ids_T, torch.tensor(self.text)]),
                torch.cat([own.positions_3T, places_3T], dim=1),
                torch.cat([own.image_mask_T, torch.zeros(count, dtype=torch.bool)]),
                own.images,
            )
        with self._plain_attention():
            hidden_1TD, _ = self.vlm.hidden_states([replace(longer, dropping=None)])
        return self.vlm.logits(hidden_1TD[0, -1])

    @contextmanager
    def _plain_attention(self) -> Iterator[None]:
        def attention(
            module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **named: Any
        ) -> Any:
            count = key.shape[2]
            causal_TT = torch.full((count, count), -torch.inf).triu(1)
            if module.layer_idx >= self.dropping.num_layers:
                assert self.unseen_T is not None
                causal_TT[:, : len(self.unseen_T)].masked_fill_(self.unseen_T, -torch.inf)
                causal_TT.fill_diagonal_(0)  # what nobody sees may see itself
            output, weights = eager_attention_forward(
                module, query, key, value, causal_TT[None, None], named["scaling"]
            )
            if module.layer_idx == self.dropping.num_layers - 1 and self.unseen_T is None:
                self._rank(weights[0].mean(dim=0)[-1])
            return output, weights

        config = self.vlm.model.config.get_text_config()
        AttentionInterface.register("plain", attention)
        before = config._attn_implementation
        config._attn_implementation = "plain"
        yield
        config._attn_implementation = before

    def _rank(self, attention_T: Tensor) -> None:
        images = self.sequence.image_mask_T.nonzero()[:, 0].tolist()
        ranked = sorted(images, key=lambda place: -float(attention_T[place]))
        left = kept_tokens(len(images), self.dropping.ratio) if images else 0
        self.unseen_T = torch.zeros(self.sequence.length, dtype=torch.bool)
        self.unseen_T[ranked[left:]] = True


@pytest.mark.parametrize("ratio", [0.5, 0.1])
@torch.inference_mode()
def test_later_layers_do_not_see_what_is_dropped(vlm: QwenVL, ratio: float) -> None:
    """Of a batch: the first logits, and every token of an answer with its log-probability."""
    steps = 5
    for dropping in droppings(vlm, ratio):
        shown = sequences(vlm, dropping)
        hidden_BTD, mask_BT, prefix = vlm.prefill(shown)
        logits_BV = vlm.logits(hidden_BTD[:, -1])
        expected = [
            own.length - own.num_vision_tokens + dropping.kept(own.num_vision_tokens)
            for own in shown
        ]
        assert mask_BT.sum(dim=1).tolist() == expected
        next_B = torch.tensor([own.next_position for own in shown])
        answers = vlm.generate(logits_BV, next_B, prefix, steps)
        for row, own in enumerate(shown):
            reference, total = Reference(vlm, own, dropping), 0.0
            torch.testing.assert_close(logits_BV[row], reference.logits(), atol=TOLERANCE, rtol=0)
            while len(reference.text) < steps:
                told_V = reference.logits().log_softmax(dim=-1)
                token = int(told_V.argmax())
                total += float(told_V[token])
                if token == vlm.end_id:
                    break
                reference.text.append(token)
            assert answers[row].token_ids == tuple(reference.text)
            assert answers[row].log_probability == pytest.approx(total, abs=steps * TOLERANCE)


@torch.inference_mode()
def test_at_ratio_1_every_logit_is_that_of_full(vlm: QwenVL) -> None:
    full, _, _ = vlm.prefill(sequences(vlm, None))
    for dropping in droppings(vlm, 1):
        hidden_BTD, _, _ = vlm.prefill(sequences(vlm, dropping))
        assert torch.equal(vlm.logits(hidden_BTD), vlm.logits(full))


@torch.inference_mode()
def test_later_layers_cache_fewer_tokens(vlm: QwenVL) -> None:
    for dropping in droppings(vlm, 0.25):
        shown, first = sequences(vlm, dropping), dropping.num_layers
        _, _, prefix = vlm.prefill(shown)
        whole = [own.length for own in shown]
        left = [
            own.length - own.num_vision_tokens + dropping.kept(own.num_vision_tokens)
            for own in shown
        ]
        assert left[:3] < whole[:3] and left[3] == whole[3]
        if vlm.packs:
            assert isinstance(prefix, DroppedCache)
            assert (prefix.lengths, prefix.later_lengths, prefix.num_first) == (whole, left, first)
            continue
        assert isinstance(prefix, DroppedPrefix)
        lengths = [layer.get_seq_length() for layer in prefix.cache.layers]
        later = vlm.flops.language_model.num_hidden_layers - first
        assert lengths == [max(whole)] * first + [max(left)] * later


def test_answers_go_on_from_the_text_pass(fresh: Layout) -> None:
    """The question is cached in every layer; what it attends to is ranked with it."""
    views = ["full", "full+fastv-1", "full+fastv-0.25", "coarse+fastv-layer1-0.5"]
    found = []
    for reuse in (True, False):
        settings = settings_of(fresh, {"eval": {"cache_reuse": reuse}})
        inference = make_inference(settings)
        samples = load_set(settings, fresh, "synth_mmmu")
        found.append(observe_samples(inference, fresh, samples, views))
    for view in views:
        reused, anew = (part.view(view) for part in found)
        assert reused["text"].tolist() == anew["text"].tolist()
        np.testing.assert_allclose(reused["log_probability"], anew["log_probability"], atol=1e-4)
        assert (reused["flops_language_model"] < anew["flops_language_model"]).all()
    full, whole, quarter = (found[0].view(view) for view in views[:3])
    told = ["text", "entropy", "margin", "log_probability", "vision_tokens", "prompt_tokens"]
    assert whole[told].equals(full[told])
    assert (quarter["prompt_tokens"] == full["prompt_tokens"]).all(), "all enter the first layers"
    assert (quarter["flops_language_model"] < full["flops_language_model"]).all()


def test_tokens_are_counted_by_layers(fresh: Layout) -> None:
    """Four layers, two of which process all tokens and two the quarter that is left."""
    assert Fastv(0.25).mean_tokens(16, 4) == (2 * 16 + 2 * 4) / 4
    assert Fastv(0.5).mean_tokens(4, 36) == 2  # 2.1
    assert Fastv(0.5, "layer1").mean_tokens(15, 4) == 10  # (15 + 3 * 8) / 4, which is 9.75
    assert Fastv(0.1).mean_tokens(0, 4) == 0
    settings = settings_of(fresh)
    inference = make_inference(settings)
    (sample, *_) = load_set(settings, fresh, "synth_mmbench")
    images = [load_images(settings, fresh, sample)]
    (full,) = inference.answer([sample], "full", images)
    (answer,) = inference.answer([sample], "full+fastv-0.25", images)
    count = full.vision_tokens
    assert answer.vision_tokens == Fastv(0.25).mean_tokens(count, 4) < count


def test_what_cannot_be_dropped_is_refused(fresh: Layout) -> None:
    settings = settings_of(fresh)
    inference = make_inference(settings)
    (sample, *_) = load_set(settings, fresh, "synth_mmbench")
    images = [load_images(settings, fresh, sample)]
    with pytest.raises(ConfigError, match=r"fastv-layer4-0.5: expected a layer before the last"):
        inference.answer([sample], "full+fastv-layer4-0.5", images)
    with pytest.raises(ConfigError, match=r"actions: .* which drops tokens inside"):
        validate({"actions": ["no", "full", "full+fastv-0.5"]}, "test")


def test_fastv_is_a_mode_of_pruning() -> None:
    policy = PolicySettings(
        baseline_name="vision_token_pruning_proxy",
        baseline_pruning_mode="fastv",
        baseline_pruning_ratio=0.1,
    )
    assert further_views(policy, ["no", "coarse", "full"]) == ["full+fastv-0.1"]
    assert setting_columns(policy) == {
        "baseline_name": "vision_token_pruning_proxy",
        "fastv_ratio": 0.1,
    }

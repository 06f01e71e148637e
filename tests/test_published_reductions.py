"""Random pruning, DivPrune and VisionZip against slow, plain references."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AttentionInterface
from transformers.models.qwen3_vl.modeling_qwen3_vl import eager_attention_forward

from support.families import FAMILIES, model_of
from support.models import encode_images
from support.properties import given, st
from vovnet.config import ModelSettings, PolicySettings, VisionBudget
from vovnet.model.loading import load_vlm
from vovnet.model.qwen_vl import QwenVL
from vovnet.policies.decide import further_views
from vovnet.views import parse_view, view_budget
from vovnet.views.reductions.base import ImageTokens, TowerAttention, kept_tokens
from vovnet.views.reductions.prune import Prune
from vovnet.views.reductions.token_map import TokenMap, reduce_tokens
from vovnet.views.reductions.visionzip import Visionzip

SIDES = st.integers(1, 7)
RATIOS = st.sampled_from([1.0, 0.75, 0.5, 0.25, 0.1, 0.03])
SEEDS = st.integers(0, 2**16)
TOLERANCE = 1e-5
"""Of means and attention in float32 against plain loops; measured below 2e-6."""


def image_of(rows: int, columns: int, seed: int) -> ImageTokens:
    """Random tokens, attention and keys."""
    draw = torch.Generator().manual_seed(seed)
    count = rows * columns
    attention = TowerAttention(
        torch.rand(count, generator=draw), torch.randn(count, 5, generator=draw)
    )
    values_KD = torch.randn(count, 6, generator=draw)
    return ImageTokens(values_KD, (rows, columns), seed, attention)


def cosine(first: list[float], second: list[float]) -> float:
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return dot / (math.hypot(*first) * math.hypot(*second))


# ---- random pruning ----------------------------------------------------------------------


def kept(image: ImageTokens, mode: Any, ratio: float) -> list[int]:
    return reduce_tokens(image, [Prune(mode, ratio)]).anchors_G.tolist()


@given(rows=SIDES, columns=SIDES, ratio=RATIOS, seed=SEEDS)
def test_random_pruning_draws_by_the_image_alone(
    rows: int, columns: int, ratio: float, seed: int
) -> None:
    image = image_of(rows, columns, seed)
    other = ImageTokens(-image.values_KD, image.grid, seed)
    chosen = kept(image, "random", ratio)
    assert chosen == kept(other, "random", ratio) == sorted(set(chosen))
    order = np.random.default_rng(seed).permutation(rows * columns).tolist()
    rank = {token: place for place, token in enumerate(order)}
    left = kept_tokens(rows * columns, ratio)
    assert chosen == [token for token in range(rows * columns) if rank[token] < left]


def test_random_pruning_keeps_every_token_equally_often() -> None:
    images = [ImageTokens(torch.zeros(16, 2), (4, 4), seed) for seed in range(2000)]
    counts = np.bincount([token for image in images for token in kept(image, "random", 0.25)])
    # Four standard deviations of a count: each is binomial with p = 1/4.
    assert np.abs(counts / len(images) - 0.25).max() < 4 * math.sqrt(0.25 * 0.75 / len(images))


# ---- DivPrune ----------------------------------------------------------------------------


def diverse_by_hand(tokens: list[list[float]], left: int) -> list[int]:
    count = len(tokens)
    far = [[1 - cosine(a, b) for b in tokens] for a in tokens]
    nearest = [min((far[a][b] for b in range(count) if b != a), default=0.0) for a in range(count)]
    chosen = [nearest.index(max(nearest))]
    while len(chosen) < left:
        scores = {a: min(far[a][b] for b in chosen) for a in range(count) if a not in chosen}
        chosen.append(max(scores, key=lambda token: (scores[token], -token)))
    return sorted(chosen)


@given(rows=SIDES, columns=SIDES, ratio=RATIOS, seed=SEEDS)
def test_divprune_is_that_of_the_reference(
    rows: int, columns: int, ratio: float, seed: int
) -> None:
    image = image_of(rows, columns, seed)
    left = kept_tokens(rows * columns, ratio)
    expected = diverse_by_hand(image.values_KD.double().tolist(), left)
    assert kept(image, "divprune", ratio) == expected


def test_divprune_by_hand() -> None:
    """The loneliest direction first, then what is farthest from all that is kept."""
    directions = [0, 5, 90, 100, 200]  # degrees; 200 is 100 away from its nearest
    tokens = [[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in directions]
    image = ImageTokens(torch.tensor(tokens), (1, 5))
    assert kept(image, "divprune", 0.2) == [4]
    assert kept(image, "divprune", 0.4) == [1, 4]  # 165 degrees apart
    assert kept(image, "divprune", 0.6) == [1, 3, 4]  # 95 and 100 degrees from these two
    equal = ImageTokens(torch.ones(6, 3), (2, 3))
    assert len(set(kept(equal, "divprune", 0.5))) == 3, "equal tokens are no reason to keep fewer"


# ---- VisionZip ---------------------------------------------------------------------------


def zipped_by_hand(image: ImageTokens, left: int) -> dict[int, list[float]]:
    """The tokens that are left by the place that they take."""
    attention = image.attention
    assert attention is not None
    values, keys = image.values_KD.double().tolist(), attention.keys_KE.double().tolist()
    received = attention.received_K.tolist()
    ranked = sorted(range(len(values)), key=lambda token: -received[token])
    contextual = max(1, math.floor(left * 10 / 64 + 0.5))
    dominant = ranked[: left - contextual]
    others = sorted(set(range(len(values))) - set(dominant))
    step = len(others) // contextual
    targets = others[::step][:contextual]
    joined: dict[int, list[int]] = {target: [] for target in targets}
    for token in others:
        if token not in targets:
            alike = [cosine(keys[token], keys[target]) for target in targets]
            joined[targets[alike.index(max(alike))]].append(token)
    found = {token: values[token] for token in dominant}
    for target, members in joined.items():
        found[target] = values[target]
        if members:
            means = [
                sum(column) / len(members)
                for column in zip(*(values[m] for m in members), strict=True)
            ]
            found[target] = [(a + b) / 2 for a, b in zip(values[target], means, strict=True)]
    return found


def zipped(image: ImageTokens, ratio: float) -> TokenMap:
    return reduce_tokens(image, [Visionzip(ratio)])


@given(rows=SIDES, columns=SIDES, ratio=RATIOS, seed=SEEDS)
def test_visionzip_is_that_of_the_reference(
    rows: int, columns: int, ratio: float, seed: int
) -> None:
    image = image_of(rows, columns, seed)
    left = kept_tokens(rows * columns, ratio)
    expected = zipped_by_hand(image, left)
    result = zipped(image, ratio)
    assert result.anchors_G.tolist() == sorted(expected) and len(expected) == left
    values = torch.tensor([expected[token] for token in sorted(expected)], dtype=torch.float32)
    torch.testing.assert_close(result.apply(image.values_KD), values, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(result.weights_GK.sum(dim=1), torch.ones(left))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_visionzip_at_ratio_1_changes_nothing(dtype: torch.dtype) -> None:
    image = image_of(5, 7, 3)
    values_KD = image.values_KD.to(dtype)
    result = zipped(ImageTokens(values_KD, (5, 7), 0, image.attention), 1.0)
    assert torch.equal(result.apply(values_KD), values_KD)


@contextmanager
def recorded_attention(vlm: QwenVL) -> Iterator[list[Tensor]]:
    """The weights of the tower's last layer, as transformers' plain attention has them."""
    weights: list[Tensor] = []

    def attention(module: Any, *parts: Any, **named: Any) -> Any:
        output, found_1HNN = eager_attention_forward(module, *parts, **named)
        if module is vlm.tower.blocks[-1].attn:
            weights.append(found_1HNN[0])
        return output, found_1HNN

    AttentionInterface.register("recorded", attention)
    vision = vlm.model.config.vision_config
    before = vision._attn_implementation
    vision._attn_implementation = "recorded"
    yield weights
    vision._attn_implementation = before


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("implementation", ["sdpa", "varlen"])
@torch.inference_mode()
def test_the_towers_attention_is_that_of_its_weights(
    family: str, implementation: str, tmp_path: Path
) -> None:
    """Several images at once, on grids whose sides are no multiples of Qwen2.5's windows."""
    model = ModelSettings(**model_of(family, tmp_path), attn_implementation=implementation)
    vlm = load_vlm(model, VisionBudget()).eval()
    draw = np.random.default_rng(0)
    sizes = [(128, 96), (96, 32), (32, 128)]
    images = [
        Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in sizes
    ]
    budget = view_budget("full", VisionBudget())
    found = [
        image for (image,) in encode_images(vlm, [[i] for i in images], budget, attention=True)
    ]
    for picture, image in zip(images, found, strict=True):
        with recorded_attention(vlm) as weights:
            ((alone,),) = encode_images(vlm, [[picture]], budget)
        received_P = torch.cat([part_HNN.mean(dim=0).sum(dim=0) for part_HNN in weights])
        in_tower_K = torch.stack([part.mean() for part in received_P.split(4)])
        pixels = vlm.preprocess([picture], budget)
        assert pixels is not None
        places_K = vlm.tower_places(pixels.grids_N3)
        assert image.attention is not None and alone.attention is None
        torch.testing.assert_close(
            image.attention.received_K, in_tower_K[places_K], atol=TOLERANCE, rtol=0
        )
        # Each of a token's four patches gives away one unit of attention.
        rows, columns = image.grid
        assert float(image.attention.received_K.sum()) == pytest.approx(rows * columns)
        # The places are those by which the tower itself puts its tokens in reading order.
        output = vlm.tower(pixels.values_PC, pixels.grids_N3)
        in_order_KD = vlm.tower.merger(output.last_hidden_state)[places_K]
        torch.testing.assert_close(in_order_KD, image.embeddings_KD, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("mode", "view"),
    [
        ("random", "full+prune-random-0.1"),
        ("divprune", "full+prune-divprune-0.1"),
        ("visionzip", "full+visionzip-0.1"),
    ],
)
def test_a_mode_of_pruning_names_its_view(mode: str, view: str) -> None:
    policy = PolicySettings(
        baseline_name="vision_token_pruning_proxy",
        baseline_pruning_mode=mode,
        baseline_pruning_ratio=0.1,
    )
    assert further_views(policy, ["no", "coarse", "full"]) == [view]
    assert parse_view(view).columns == {"pruning_ratio": 0.1}
    assert parse_view(view).needs_attention == (mode == "visionzip")

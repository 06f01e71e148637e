"""Pruning, merging and pooling against slow, plain references, and what they must conserve."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from support.properties import given, st
from vovnet.views import tokens_left
from vovnet.views.reductions.base import ImageTokens, Reduction, kept_tokens
from vovnet.views.reductions.merge import Merge
from vovnet.views.reductions.pool import Pool
from vovnet.views.reductions.prune import Prune
from vovnet.views.reductions.token_map import TokenMap, reduce_tokens

SIDES = st.integers(1, 7)
RATIOS = st.sampled_from([1.0, 0.75, 0.5, 0.25, 0.125, 0.1, 0.03])
SEEDS = st.integers(0, 2**16)
PRUNING = ["stride", "topk_norm", "random", "divprune"]
MODES = [(mode, weight) for mode in ("cosine", "l2") for weight in ("norm", "uniform")]
TOLERANCE = 1e-5
"""Of means of float32 tokens of unit variance against double precision; measured below 1e-6."""


def prune(tokens: Tensor, mode: Any, ratio: float) -> TokenMap:
    return reduce_line(tokens, Prune(mode, ratio))


def merge(tokens: Tensor, mode: Any, weight: Any, ratio: float) -> TokenMap:
    return reduce_line(tokens, Merge(mode, ratio, weight))


def reduce_line(tokens: Tensor, reduction: Reduction) -> TokenMap:
    """A reduction that does not look at the grid, of an image of one row."""
    return reduction.reduce(ImageTokens(tokens, (1, len(tokens))))


def random_tokens(count: int, seed: int, width: int = 6) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


# ---- plain references --------------------------------------------------------------------


def merged_by_hand(
    tokens: list[list[float]], mode: str, weight: str, left: int
) -> list[dict[str, Any]]:
    """Groups of merged tokens, one dictionary each, in the order of their anchors."""
    groups = []
    for index, token in enumerate(tokens):
        mass = math.hypot(*token) if weight == "norm" else 1.0
        groups.append({"anchor": index, "members": [index], "mass": mass, "value": token})
    while len(groups) > left:
        even, odd = groups[0::2], groups[1::2]
        best = []
        for place, source in enumerate(even):
            scores = [similarity(source["value"], target["value"], mode) for target in odd]
            target = scores.index(max(scores))
            best.append((scores[target], place, target))
        count = min(len(groups) - left, len(groups) // 2)
        chosen = sorted(best, key=lambda pair: -pair[0])[:count]
        for target in odd:
            joining = [even[place] for _, place, index in chosen if odd[index] is target]
            for source in joining:
                mass = target["mass"] + source["mass"]
                target["value"] = [
                    (a * target["mass"] + b * source["mass"]) / mass
                    for a, b in zip(target["value"], source["value"], strict=True)
                ]
                target["mass"] = mass
                target["members"] = target["members"] + source["members"]
        gone = {even[place]["anchor"] for _, place, _ in chosen}
        groups = [group for group in groups if group["anchor"] not in gone]
    return groups


def similarity(first: list[float], second: list[float], mode: str) -> float:
    if mode == "l2":
        return -math.dist(first, second)
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return dot / (math.hypot(*first) * math.hypot(*second))


def pooled_by_hand(tokens: Tensor, rows: int, columns: int, factor: int) -> list[Tensor]:
    pooled = []
    for top in range(0, rows, factor):
        for left in range(0, columns, factor):
            cell = [
                tokens[row * columns + column]
                for row in range(top, min(top + factor, rows))
                for column in range(left, min(left + factor, columns))
            ]
            pooled.append(torch.stack(cell).mean(dim=0))
    return pooled


# ---- golden values -----------------------------------------------------------------------


def test_counts_by_hand() -> None:
    assert [kept_tokens(16, ratio) for ratio in (1.0, 0.75, 0.5, 0.25, 0.01)] == [16, 12, 8, 4, 1]
    assert kept_tokens(15, 0.5) == 8
    assert tokens_left((3, 5)) == 15
    assert tokens_left((3, 5), [Pool(2)]) == 2 * 3
    assert tokens_left((3, 5), [Pool(4)]) == 2
    assert tokens_left((3, 5), [Merge("cosine", 0.5, "norm"), Prune("stride", 0.5)]) == 4


def test_stride_by_hand() -> None:
    tokens = random_tokens(8, 0)
    for ratio, kept in [(1.0, range(8)), (0.75, [0, 1, 2, 4, 5, 6]), (0.5, [0, 2, 4, 6])]:
        assert prune(tokens, "stride", ratio).anchors_G.tolist() == list(kept)


def test_topk_norm_by_hand() -> None:
    tokens = torch.tensor([[3.0, 0], [0, 5], [1, 0], [0, -3], [4, 3], [0, 3]])
    # Norms 3, 5, 1, 3, 5, 3: of the equal ones the earlier stay, in reading order.
    assert prune(tokens, "topk_norm", 0.5).anchors_G.tolist() == [0, 1, 4]
    assert prune(tokens, "topk_norm", 0.3).anchors_G.tolist() == [1, 4]


def sizes(result: TokenMap) -> torch.Tensor:
    """How many tokens went into each of those that are left, (G,)."""
    return (result.weights_GK != 0).sum(dim=1).float()


def test_merging_by_hand() -> None:
    tokens = torch.tensor([[2.0, 0], [4, 0], [0, 1], [0, 3]])
    uniform = merge(tokens, "cosine", "uniform", 0.5)
    assert uniform.apply(tokens).tolist() == [[3, 0], [0, 2]]
    assert uniform.anchors_G.tolist() == [1, 3]
    normed = merge(tokens, "cosine", "norm", 0.5)
    assert normed.apply(tokens).tolist() == [
        pytest.approx([(2 * 2 + 4 * 4) / 6, 0]),
        pytest.approx([0, (1 * 1 + 3 * 3) / 4]),
    ]
    assert sizes(normed).tolist() == [2, 2]


def test_pooling_an_odd_grid_by_hand() -> None:
    tokens = torch.arange(15.0)[:, None]  # 3 rows of 5
    result = Pool(2).reduce(ImageTokens(tokens, (3, 5)))
    assert result.apply(tokens).flatten().tolist() == [3, 5, 6.5, 10.5, 12.5, 14]
    assert result.anchors_G.tolist() == [0, 2, 4, 10, 12, 14]
    assert sizes(result).tolist() == [4, 4, 2, 2, 2, 1]
    assert Pool(4).reduce(ImageTokens(tokens, (3, 5))).anchors_G.tolist() == [6, 9]


# ---- parity ------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "weight"), MODES)
@given(rows=SIDES, columns=SIDES, ratio=RATIOS, seed=SEEDS)
def test_merging_is_that_of_the_reference(
    mode: Any, weight: Any, rows: int, columns: int, ratio: float, seed: int
) -> None:
    tokens = random_tokens(rows * columns, seed)
    result = merge(tokens, mode, weight, ratio)
    groups = merged_by_hand(
        tokens.double().tolist(),
        mode,
        weight,
        tokens_left((rows, columns), [Prune("stride", ratio)]),
    )
    assert result.anchors_G.tolist() == [group["anchor"] for group in groups]
    members = [row.nonzero().flatten().tolist() for row in result.weights_GK]
    assert members == [sorted(group["members"]) for group in groups]
    values = torch.tensor([group["value"] for group in groups], dtype=torch.float32)
    torch.testing.assert_close(result.apply(tokens), values, atol=TOLERANCE, rtol=0)


@given(rows=SIDES, columns=SIDES, factor=st.sampled_from([1, 2, 3, 4]), seed=SEEDS)
def test_pooling_is_that_of_the_reference(rows: int, columns: int, factor: int, seed: int) -> None:
    tokens = random_tokens(rows * columns, seed)
    result = Pool(factor).reduce(ImageTokens(tokens, (rows, columns)))
    expected = torch.stack(pooled_by_hand(tokens, rows, columns, factor))
    torch.testing.assert_close(result.apply(tokens), expected, atol=TOLERANCE, rtol=0)


@given(count=st.integers(1, 60), ratio=RATIOS, seed=SEEDS)
def test_stride_keeps_the_first_of_equal_parts(count: int, ratio: float, seed: int) -> None:
    """As many parts as tokens are left; a token belongs to the part in which it begins."""
    tokens = random_tokens(count, seed)
    left = kept_tokens(count, ratio)
    kept, next_part = [], Fraction(0)
    for index in range(count):
        if index + 1 > next_part:
            kept.append(index)
            next_part += Fraction(count, left)
    result = prune(tokens, "stride", ratio)
    assert result.anchors_G.tolist() == kept
    assert torch.equal(result.apply(tokens), tokens[kept])


@given(count=st.integers(1, 60), ratio=RATIOS, seed=SEEDS)
def test_topk_norm_keeps_the_largest(count: int, ratio: float, seed: int) -> None:
    tokens = random_tokens(count, seed)
    norms = [math.hypot(*token) for token in tokens.double().tolist()]
    ranked = sorted(range(count), key=lambda index: -norms[index])
    kept = sorted(ranked[: kept_tokens(count, ratio)])
    result = prune(tokens, "topk_norm", ratio)
    assert result.anchors_G.tolist() == kept
    assert torch.equal(result.apply(tokens), tokens[kept])


# ---- properties --------------------------------------------------------------------------

REDUCTIONS = st.one_of(
    st.builds(Pool, st.sampled_from([1, 2, 4])).map(lambda item: [item]),
    st.lists(
        st.one_of(
            st.builds(Prune, st.sampled_from(PRUNING), RATIOS),
            st.builds(
                Merge,
                st.sampled_from(["cosine", "l2"]),
                RATIOS,
                st.sampled_from(["norm", "uniform"]),
            ),
        ),
        max_size=3,
    ),
)


@given(rows=SIDES, columns=SIDES, reductions=REDUCTIONS, seed=SEEDS)
def test_what_is_left_is_what_is_counted(
    rows: int, columns: int, reductions: list[Reduction], seed: int
) -> None:
    tokens = random_tokens(rows * columns, seed)
    result = reduce_tokens(ImageTokens(tokens, (rows, columns), seed), reductions)
    left = tokens_left((rows, columns), reductions)
    assert result.apply(tokens).shape == (left, tokens.shape[1])
    assert len(result.anchors_G) == len(result.weights_GK) == left
    anchors = result.anchors_G.tolist()
    assert anchors == sorted(set(anchors))
    # An anchor is a token that went into the one it stands for.
    assert (result.weights_GK[torch.arange(left), result.anchors_G] > 0).all()
    torch.testing.assert_close(result.weights_GK.sum(dim=1), torch.ones(left))


@pytest.mark.parametrize(("mode", "weight"), MODES)
@given(count=st.integers(1, 60), ratio=RATIOS, seed=SEEDS)
def test_merging_conserves_sizes_and_the_weighted_sum(
    mode: Any, weight: Any, count: int, ratio: float, seed: int
) -> None:
    tokens = random_tokens(count, seed)
    result = merge(tokens, mode, weight, ratio)
    assert sizes(result).sum() == count
    assert ((result.weights_GK > 0).sum(dim=0) == 1).all()  # each token goes into one
    masses_K = tokens.norm(dim=-1) if weight == "norm" else torch.ones(count)
    masses_G = (result.weights_GK > 0).float() @ masses_K
    torch.testing.assert_close(
        masses_G @ result.apply(tokens), masses_K @ tokens, atol=1e-4, rtol=1e-5
    )


@given(rows=SIDES, columns=SIDES, factor=st.sampled_from([1, 2, 4]), seed=SEEDS)
def test_pooling_conserves_sizes_and_the_sum(
    rows: int, columns: int, factor: int, seed: int
) -> None:
    tokens = random_tokens(rows * columns, seed)
    result = Pool(factor).reduce(ImageTokens(tokens, (rows, columns)))
    assert sizes(result).sum() == len(tokens)
    torch.testing.assert_close(
        sizes(result) @ result.apply(tokens), tokens.sum(dim=0), atol=1e-4, rtol=1e-5
    )


@pytest.mark.parametrize(
    "reduction",
    [*(Prune(mode, 1.0) for mode in PRUNING), Pool(1)]  # type: ignore[arg-type]
    + [Merge(mode, 1.0, weight) for mode, weight in MODES],  # type: ignore[arg-type]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_reduced_is_bit_for_bit_the_same(reduction: Reduction, dtype: torch.dtype) -> None:
    tokens = random_tokens(35, 3).to(dtype)
    result = reduce_tokens(ImageTokens(tokens, (5, 7)), [reduction])
    assert torch.equal(result.apply(tokens), tokens)
    assert result.anchors_G.tolist() == list(range(35))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mixed_precision_reduces_as_full_precision_does(dtype: torch.dtype) -> None:
    """Under autocast, which training may use, products are rounded; a map is not."""
    tokens = random_tokens(35, 3).to(dtype)
    for reductions in ([Merge("cosine", 0.5, "norm"), Prune("topk_norm", 0.5)], [Pool(2)]):
        plain = reduce_tokens(ImageTokens(tokens, (5, 7)), reductions)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = reduce_tokens(ImageTokens(tokens, (5, 7)), reductions)
            features = mixed.apply(tokens)
        assert torch.equal(mixed.weights_GK, plain.weights_GK)
        assert torch.equal(features, plain.apply(tokens))


def test_equal_and_empty_tokens_merge_without_a_hole() -> None:
    """Ties go to the first, and tokens of zero norm have a mean."""
    for tokens in (torch.zeros(9, 4), torch.ones(9, 4)):
        for mode, weight in MODES:
            result = merge(tokens, mode, weight, 0.25)
            assert torch.isfinite(result.apply(tokens)).all()
            again = merge(tokens, mode, weight, 0.25)
            assert torch.equal(result.weights_GK, again.weights_GK)

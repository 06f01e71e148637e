"""FastV's passes over padded batches; `vovnet.model.fastv` says which tokens go on.

Shapes: B sequences, T tokens, D hidden size, V vocabulary, H heads, E size of a head, G key-value
heads, S cached tokens, N tokens that go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from vovnet.model.fastv import attention_of, places_left, shortened
from vovnet.model.sequences import Batch, TokenSequence, pad_left, sent
from vovnet.views.reductions.base import Dropping

if TYPE_CHECKING:
    from vovnet.model.vlm import VisionLanguageModel


@dataclass
class DroppedPrefix:
    """A batch that has been processed. Behind the first layers the cache holds fewer tokens.

    The masks are those of the tokens that the first layers and the later ones have cached.
    """

    cache: DynamicCache
    first_mask_BT: Tensor
    later_mask_BT: Tensor
    num_first: int


def prefill(
    vlm: VisionLanguageModel,
    sequences: Sequence[TokenSequence],
    dropping: Dropping,
    cache: DynamicCache,
    past_mask_BT: Tensor | None,
) -> tuple[Tensor, Tensor, DroppedPrefix]:
    """Process sequences after what is cached: hidden states of the tokens that went on to the end.

    Returns them (B, N, D), padded on the left, with their mask, and the grown prefix.
    """
    batch, first = pad_left(sequences, vlm.pad_id, vlm.device), dropping.num_layers
    mask_BT = _joined(past_mask_BT, batch.mask_BT)
    hidden_BTD = vlm.run_layers(vlm.embed(batch), batch, range(first - 1), cache, mask_BT)
    last = (hidden_BTD[:, -1:], batch.positions_3BT[..., -1:])
    query_BHE = vlm.queries(*last, first - 1)[:, 0]
    hidden_BTD = vlm.run_layers(hidden_BTD, batch, range(first - 1, first), cache, mask_BT)
    keys_BGSE = cache.layers[first - 1].keys
    assert keys_BGSE is not None
    places = []
    for row, sequence in enumerate(sequences):
        seen_GSE = keys_BGSE[row][:, mask_BT[row].bool()]
        attention_T = attention_of(query_BHE[row], seen_GSE)[-sequence.length :]
        places.append(places_left(sequence, attention_T))
    left = [shortened(*pair) for pair in zip(sequences, places, strict=True)]
    shorter = pad_left(left, vlm.pad_id, vlm.device)
    later_mask_BT = _joined(past_mask_BT, shorter.mask_BT)
    hidden_BND = _gathered(hidden_BTD, sequences, places)
    later = range(first, vlm.flops.language_model.num_hidden_layers)
    hidden_BND = vlm.run_layers(hidden_BND, shorter, later, cache, later_mask_BT)
    prefix = DroppedPrefix(cache, mask_BT, later_mask_BT, first)
    return vlm.last_norm(hidden_BND), shorter.mask_BT, prefix


def _joined(past_mask_BT: Tensor | None, mask_BT: Tensor) -> Tensor:
    return mask_BT if past_mask_BT is None else torch.cat([past_mask_BT, mask_BT], dim=1)


def _gathered(
    hidden_BTD: Tensor, sequences: Sequence[TokenSequence], places: Sequence[Tensor]
) -> Tensor:
    """The states at the places of each sequence, padded on the left with some state, (B, N, D)."""
    longest = max(len(places_N) for places_N in places)
    index_BN = torch.zeros(len(places), longest, dtype=torch.long)
    for row, (sequence, places_N) in enumerate(zip(sequences, places, strict=True)):
        start = hidden_BTD.shape[1] - sequence.length
        index_BN[row, longest - len(places_N) :] = places_N + start
    index_BND = sent(index_BN, hidden_BTD.device)[..., None].expand(-1, -1, hidden_BTD.shape[2])
    return hidden_BTD.gather(1, index_BND)


class Decoder:
    """Feeds one token of each sequence at a time, through layers whose caches differ in length."""

    def __init__(self, vlm: VisionLanguageModel, prefix: DroppedPrefix) -> None:
        self.vlm, self.prefix = vlm, prefix

    def __call__(self, token_B: Tensor, position_B: Tensor, done_B: Tensor) -> Tensor:
        """Logits (B, V) of the tokens after `token_B`; rows that are done are fed as the others."""
        vlm, prefix = self.vlm, self.prefix
        batch = Batch.of_text(token_B[:, None], position_B[:, None])
        prefix.first_mask_BT = _joined(prefix.first_mask_BT, batch.mask_BT)
        prefix.later_mask_BT = _joined(prefix.later_mask_BT, batch.mask_BT)
        first, later = _parts(vlm, prefix.num_first)
        hidden_B1D = vlm.embed(batch)
        hidden_B1D = vlm.run_layers(hidden_B1D, batch, first, prefix.cache, prefix.first_mask_BT)
        hidden_B1D = vlm.run_layers(hidden_B1D, batch, later, prefix.cache, prefix.later_mask_BT)
        return vlm.logits(vlm.last_norm(hidden_B1D)[:, -1])


def _parts(vlm: VisionLanguageModel, num_first: int) -> tuple[range, range]:
    return range(num_first), range(num_first, vlm.flops.language_model.num_hidden_layers)

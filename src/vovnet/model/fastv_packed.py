"""FastV's passes over packed sequences; `vovnet.model.fastv` says which tokens go on.

Shapes: B sequences, T tokens of all of them, S slots of a cache, D hidden size, V vocabulary, N
tokens of all sequences that go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vovnet.model.fastv import attention_of, places_left, shortened
from vovnet.model.packed_cache import DroppedCache, PackedCache, attached, new_lengths, padded
from vovnet.model.packed_graphs import Decoder
from vovnet.model.sequences import Batch, TokenSequence, pack, sent
from vovnet.views.reductions.base import Dropping

if TYPE_CHECKING:
    from vovnet.model.vlm import VisionLanguageModel


def prefill(
    vlm: VisionLanguageModel,
    sequences: Sequence[TokenSequence],
    dropping: Dropping,
    past: Sequence[int],
    cache: PackedCache,
) -> tuple[Tensor, Tensor, DroppedCache]:
    """Process sequences after `past` tokens: hidden states of the tokens that went on to the end.

    Returns them padded on the left, with their mask, and the grown cache.
    """
    batch, first = pack(sequences, vlm.device), dropping.num_layers
    lengths = [sequence.length for sequence in sequences]
    ends = torch.tensor([*accumulate(lengths)])
    with attached(vlm, cache):
        told = new_lengths(vlm, cache, lengths, past)
        hidden_1TD = vlm.run_layers(vlm.embed(batch), batch, range(first - 1), None, None, **told)
        last_B = sent(ends - 1, vlm.device)
        last = (hidden_1TD[:, last_B], batch.positions_3BT[..., last_B])
        query_BHE = vlm.queries(*last, first - 1)[0]
        ranking = range(first - 1, first)
        hidden_1TD = vlm.run_layers(hidden_1TD, batch, ranking, None, None, **told)
        places = []
        for row, (sequence, before) in enumerate(zip(sequences, past, strict=True)):
            used = slice(row * cache.room, row * cache.room + before + sequence.length)
            keys_GSE = cache.keys[first - 1][used].transpose(0, 1)
            attention_T = attention_of(query_BHE[row], keys_GSE)[before:]
            places.append(places_left(sequence, attention_T))
        starts = [0, *ends[:-1].tolist()]
        index_N = torch.cat([part + start for part, start in zip(places, starts, strict=True)])
        left = [shortened(*pair) for pair in zip(sequences, places, strict=True)]
        kept = [sequence.length for sequence in left]
        hidden_1ND = vlm.run_layers(
            hidden_1TD[:, sent(index_N, vlm.device)],
            pack(left, vlm.device),
            range(first, vlm.flops.language_model.num_hidden_layers),
            None,
            None,
            **new_lengths(vlm, cache, kept, past),
        )
    total = [before + new for before, new in zip(past, lengths, strict=True)]
    later = [before + new for before, new in zip(past, kept, strict=True)]
    dropped = DroppedCache(cache.keys, cache.values, total, cache.room, later, first)
    return *padded(vlm.last_norm(hidden_1ND)[0], kept), dropped


class DroppedDecoder(Decoder):
    """Feeds one token of each sequence at a time, through layers whose caches differ in length."""

    def __init__(
        self, vlm: VisionLanguageModel, num_rows: int, room: int, storage: Tensor, num_first: int
    ) -> None:
        self.num_first = num_first
        self.later_slot_B = torch.zeros(num_rows, dtype=torch.long, device=vlm.device)
        self.later_used_B = torch.ones(num_rows, dtype=torch.int32, device=vlm.device)
        super().__init__(vlm, num_rows, room, storage)

    def start(self, prefix: PackedCache) -> None:
        super().start(prefix)
        assert isinstance(prefix, DroppedCache)
        self.place(prefix.later_lengths, self.later_slot_B, self.later_used_B)

    def __call__(self, token_B: Tensor, position_B: Tensor, done_B: Tensor) -> Tensor:
        self.later_used_B[: self.size].masked_fill_(done_B, 1)
        return super().__call__(token_B, position_B, done_B)

    def _step(self) -> Tensor:
        vlm, batch = self.vlm, Batch.of_text(self.token_B[None], self.position_B[None])
        last = vlm.flops.language_model.num_hidden_layers
        first, later = range(self.num_first), range(self.num_first, last)
        with attached(vlm, self.cache):
            hidden_1BD = vlm.run_layers(
                vlm.embed(batch), batch, first, None, None, **self.told(self.slot_B, self.used_B)
            )
            told = self.told(self.later_slot_B, self.later_used_B)
            hidden_1BD = vlm.run_layers(hidden_1BD, batch, later, None, None, **told)
        for counted in (self.used_B, self.slot_B, self.later_used_B, self.later_slot_B):
            counted += 1
        return vlm.logits(vlm.last_norm(hidden_1BD)[0])

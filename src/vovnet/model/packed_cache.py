"""The cache of packed sequences, and what attention is told of tokens that are written into it.

Shapes: B sequences, T tokens, L layers, S slots, H key-value heads, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vovnet.model.sequences import sent

if TYPE_CHECKING:
    from vovnet.model.vlm import VisionLanguageModel


@dataclass
class PackedCache:
    """Keys and values (L, S, H, head size) of sequences, each in `room` slots of its own.

    It is never grown in place, so that copies share it.
    """

    keys: Tensor
    values: Tensor
    lengths: list[int]
    room: int

    @classmethod
    def empty(
        cls, vlm: VisionLanguageModel, num_rows: int, room: int, storage: Tensor | None = None
    ) -> PackedCache:
        """At the beginning of `storage`, if given."""
        shape = cache_shape(vlm, num_rows * room)
        if storage is None:
            storage = new_storage(vlm, shape)
        keys, values = storage[: math.prod(shape)].view(shape)
        return cls(keys, values, [0] * num_rows, room)

    def copy(self, drop: int = 0) -> PackedCache:
        """The same without the last `drop` tokens of each sequence."""
        return PackedCache(
            self.keys, self.values, [length - drop for length in self.lengths], self.room
        )

    def put_into(self, other: PackedCache) -> None:
        """Copy the sequences to the first rows of a cache with at least as much room."""
        longest = max(self.lengths)
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            rows = mine.unflatten(1, (-1, self.room))[:, :, :longest]
            theirs.unflatten(1, (-1, other.room))[:, : rows.shape[1], :longest] = rows
        other.lengths[: len(self.lengths)] = self.lengths


@dataclass
class DroppedCache(PackedCache):
    """A cache of which the layers behind the first `num_first` hold `later_lengths` tokens."""

    later_lengths: list[int]
    num_first: int


def cache_shape(vlm: VisionLanguageModel, num_slots: int) -> tuple[int, ...]:
    """Of keys and values together."""
    size = vlm.flops.language_model
    return (2, size.num_hidden_layers, num_slots, size.num_key_value_heads, size.head_dim)


def new_storage(vlm: VisionLanguageModel, shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(math.prod(shape), dtype=vlm.model.dtype, device=vlm.device)


def cumulative(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Cumulative lengths, (B + 1,)."""
    return sent(torch.tensor([0, *accumulate(lengths)], dtype=torch.int32), device)


def new_lengths(
    vlm: VisionLanguageModel, cache: PackedCache, lengths: Sequence[int], past: Sequence[int]
) -> dict[str, Any]:
    """What attention is told of new tokens, which are written into a cache after `past` others."""
    slots = [
        torch.arange(length) + row * cache.room + before
        for row, (length, before) in enumerate(zip(lengths, past, strict=True))
    ]
    used = [before + length for before, length in zip(past, lengths, strict=True)]
    return {
        "cu_seq_lens_q": cumulative(lengths, vlm.device),
        "cu_seq_lens_k": cumulative([cache.room] * len(lengths), vlm.device),
        "max_length_q": max(lengths),
        "max_length_k": cache.room,
        "slots_T": sent(torch.cat(slots), vlm.device),
        "used_B": sent(torch.tensor(used, dtype=torch.int32), vlm.device),
    }


def padded(hidden_TD: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Hidden states (B, T, D) padded with zeros on the left, and the mask of their tokens."""
    longest = max(lengths)
    mask_BT = torch.zeros(len(lengths), longest, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask_BT[row, longest - length :] = 1
    places_T = sent(mask_BT.flatten().nonzero()[:, 0], hidden_TD.device)
    padded = hidden_TD.new_zeros(mask_BT.numel(), hidden_TD.shape[1])
    padded = padded.index_copy(0, places_T, hidden_TD)
    return padded.unflatten(0, mask_BT.shape), sent(mask_BT, hidden_TD.device)


@contextmanager
def attached(vlm: VisionLanguageModel, cache: PackedCache) -> Iterator[None]:
    """Have each layer's attention write into its part of the cache, and read from it."""
    modules = [layer.self_attn for layer in vlm.model.get_decoder().layers]
    for layer, module in enumerate(modules):
        module.kv_cache = (cache.keys[layer], cache.values[layer])
    try:
        yield
    finally:
        for module in modules:
            module.kv_cache = None

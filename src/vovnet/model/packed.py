"""Passes over packed sequences: prefill, and decoding in fixed places, captured on a GPU.

Where `model.attn_implementation` is `varlen`, the sequences of a batch lie one after the other and
nothing is computed for padding. What a caller gets back is padded on the left, as
`vovnet.model.padded` gives it.

Shapes: B sequences, T tokens, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vovnet.model import fastv_packed
from vovnet.model.fastv import dropping_of
from vovnet.model.packed_cache import (
    DroppedCache,
    PackedCache,
    attached,
    cache_shape,
    cumulative,
    new_lengths,
    new_storage,
    padded,
)
from vovnet.model.packed_graphs import Decoder, TextPassGraph
from vovnet.model.sequences import TokenSequence, pack

if TYPE_CHECKING:
    from vovnet.model.vlm import VisionLanguageModel

ROOM_STEP = 256
"""A decoder's slots per sequence are rounded up to a multiple, so that few graphs are captured."""

ROW_STEP = 8
"""The same for the sequences of a batch."""

CAPTURED_LENGTHS = tuple(range(32, 513, 32))
"""Lengths to which a single text pass is filled up, so that its graph can be used again."""


class PackedPasses:
    """How a model reads and continues sequences; see `vovnet.model.padded` for the contracts."""

    def __init__(self, vlm: VisionLanguageModel) -> None:
        self.vlm = vlm
        self.decoders: dict[tuple[int, int, int], Decoder] = {}
        self.storage: Tensor | None = None  # of all their caches: one is in use at a time
        self.text_passes: dict[int, TextPassGraph] = {}

    def hidden_states(self, sequences: Sequence[TokenSequence]) -> tuple[Tensor, Tensor]:
        return padded(self._whole(sequences), [sequence.length for sequence in sequences])

    def _whole(self, sequences: Sequence[TokenSequence]) -> Tensor:
        """Hidden states (T, D) of whole sequences, of which nothing is cached."""
        lengths = [sequence.length for sequence in sequences]
        starts, longest = cumulative(lengths, self.vlm.device), max(lengths)
        hidden_1TD = self.vlm(
            pack(sequences, self.vlm.device),
            None,
            None,
            cu_seq_lens_q=starts,
            cu_seq_lens_k=starts,
            max_length_q=longest,
            max_length_k=longest,
        )
        return hidden_1TD[0]

    def prefill(
        self, sequences: Sequence[TokenSequence], prefix: PackedCache | None = None
    ) -> tuple[Tensor, Tensor, PackedCache]:
        lengths = [sequence.length for sequence in sequences]
        if prefix is None and self._can_be_captured(sequences):
            hidden_TD, cache = self._captured(sequences[0])
            return *padded(hidden_TD, lengths), cache
        past = prefix.lengths if prefix else [0] * len(lengths)
        total = [before + new for before, new in zip(past, lengths, strict=True)]
        cache = PackedCache.empty(self.vlm, len(lengths), max(total))
        if prefix:
            prefix.put_into(cache)
        if (dropping := dropping_of(sequences)) is not None:
            return fastv_packed.prefill(self.vlm, sequences, dropping, past, cache)
        cache.lengths = total
        told = new_lengths(self.vlm, cache, lengths, past)
        with attached(self.vlm, cache):
            hidden_1TD = self.vlm(pack(sequences, self.vlm.device), None, None, **told)
        return *padded(hidden_1TD[0], lengths), cache

    def _can_be_captured(self, sequences: Sequence[TokenSequence]) -> bool:
        return (
            self.vlm.device.type == "cuda"
            and torch.is_inference_mode_enabled()
            and len(sequences) == 1
            and not sequences[0].images
            and graph_length(sequences[0].length) is not None
        )

    def _captured(self, sequence: TokenSequence) -> tuple[Tensor, PackedCache]:
        room = graph_length(sequence.length)
        assert room is not None
        if room not in self.text_passes:
            self.text_passes[room] = TextPassGraph(self.vlm, room)
        return self.text_passes[room](sequence)

    def captured_shapes(self, text_tokens: int, totals: Sequence[int]) -> set[tuple[str, int]]:
        """What is captured for a question and its answers, of so many tokens with the prompt."""
        if self.vlm.device.type != "cuda":
            return set()
        length = graph_length(text_tokens)
        texts = set() if length is None else {("text pass", length)}
        return texts | {("decoding", slots(total)) for total in totals}

    def decoder(self, prefix: PackedCache, max_new_tokens: int) -> Decoder:
        """Decoding after `prefix`, which stays as it is; one decoder is in use at a time."""
        num_rows = len(prefix.lengths)
        room = slots(max(prefix.lengths) + max_new_tokens)
        if self.vlm.device.type == "cuda" and num_rows > 1:
            num_rows = _next_multiple(num_rows, ROW_STEP)
        key = (num_rows, room, prefix.num_first if isinstance(prefix, DroppedCache) else 0)
        if key not in self.decoders:
            self.decoders[key] = self._new_decoder(*key)
        decoder = self.decoders[key]
        decoder.start(prefix)
        return decoder

    def _new_decoder(self, num_rows: int, room: int, num_first: int) -> Decoder:
        shape = cache_shape(self.vlm, num_rows * room)
        if self.storage is None or self.storage.numel() < math.prod(shape):
            self.decoders.clear()
            self.storage = None  # given back before more is asked for
            self.storage = new_storage(self.vlm, shape)
        if num_first:
            return fastv_packed.DroppedDecoder(self.vlm, num_rows, room, self.storage, num_first)
        return Decoder(self.vlm, num_rows, room, self.storage)


def slots(tokens: int) -> int:
    """Slots of a decoder's cache for a sequence of so many tokens, the answer's included."""
    return _next_multiple(tokens, ROOM_STEP)


def graph_length(tokens: int) -> int | None:
    """Tokens to which a single text pass is filled up, or None where it is not captured."""
    return next((length for length in CAPTURED_LENGTHS if length >= tokens), None)


def _next_multiple(value: int, step: int) -> int:
    return -(-value // step) * step

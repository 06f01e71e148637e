"""Passes over packed sequences: prefill, and decoding in fixed places, captured on a GPU.

Where `model.attn_implementation` is `varlen`, the sequences of a batch lie one after the other and
nothing is computed for padding. What a caller gets back is padded on the left, as
`vovnet.model.padded` gives it.

On a GPU a decoding step and the text pass of a single question are captured as CUDA graphs: at
these sizes starting the kernels one by one takes longer than their work.

Shapes: B sequences, T tokens, L layers, S slots, H key-value heads, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vovnet.model.sequences import Batch, TokenSequence, pack, sent

if TYPE_CHECKING:
    from vovnet.model.vlm import VisionLanguageModel

ROOM_STEP = 256
"""A decoder's slots per sequence are rounded up to a multiple, so that few graphs are captured."""

ROW_STEP = 8
"""The same for the sequences of a batch."""

CAPTURED_LENGTHS = tuple(range(32, 513, 32))
"""Lengths to which a single text pass is filled up, so that its graph can be used again."""


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
        shape = _cache_shape(vlm, num_rows * room)
        if storage is None:
            storage = _storage(vlm, shape)
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


def _cache_shape(vlm: VisionLanguageModel, num_slots: int) -> tuple[int, ...]:
    """Of keys and values together."""
    size = vlm.flops.language_model
    return (2, size.num_hidden_layers, num_slots, size.num_key_value_heads, size.head_dim)


def _storage(vlm: VisionLanguageModel, shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(math.prod(shape), dtype=vlm.model.dtype, device=vlm.device)


def _lengths(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Cumulative lengths, (B + 1,)."""
    return sent(torch.tensor([0, *accumulate(lengths)], dtype=torch.int32), device)


class PackedPasses:
    """How a model reads and continues sequences; see `vovnet.model.padded` for the contracts."""

    def __init__(self, vlm: VisionLanguageModel) -> None:
        self.vlm = vlm
        self.decoders: dict[tuple[int, int], Decoder] = {}
        self.storage: Tensor | None = None  # of all their caches: one is in use at a time
        self.text_passes: dict[int, TextPassGraph] = {}

    def hidden_states(self, sequences: Sequence[TokenSequence]) -> tuple[Tensor, Tensor]:
        return _padded(self._whole(sequences), [sequence.length for sequence in sequences])

    def _whole(self, sequences: Sequence[TokenSequence]) -> Tensor:
        """Hidden states (T, D) of whole sequences, of which nothing is cached."""
        lengths = [sequence.length for sequence in sequences]
        starts, longest = _lengths(lengths, self.vlm.device), max(lengths)
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
        else:
            past = prefix.lengths if prefix else [0] * len(lengths)
            total = [before + new for before, new in zip(past, lengths, strict=True)]
            cache = PackedCache.empty(self.vlm, len(lengths), max(total))
            if prefix:
                prefix.put_into(cache)
            cache.lengths = total
            hidden_TD = self._extend(sequences, past, cache)
        return *_padded(hidden_TD, lengths), cache

    def _extend(
        self, sequences: Sequence[TokenSequence], past: Sequence[int], cache: PackedCache
    ) -> Tensor:
        """Hidden states (T, D) of new tokens, which are written into the cache after `past`."""
        device, lengths = self.vlm.device, [sequence.length for sequence in sequences]
        slots = [
            torch.arange(length) + row * cache.room + before
            for row, (length, before) in enumerate(zip(lengths, past, strict=True))
        ]
        with attached(self.vlm, cache):
            hidden_1TD = self.vlm(
                pack(sequences, device),
                None,
                None,
                cu_seq_lens_q=_lengths(lengths, device),
                cu_seq_lens_k=_lengths([cache.room] * len(lengths), device),
                max_length_q=max(lengths),
                max_length_k=cache.room,
                slots_T=sent(torch.cat(slots), device),
                used_B=sent(torch.tensor(cache.lengths, dtype=torch.int32), device),
            )
        return hidden_1TD[0]

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
        key = (num_rows, room)
        if key not in self.decoders:
            self.decoders[key] = self._new_decoder(*key)
        decoder = self.decoders[key]
        decoder.start(prefix)
        return decoder

    def _new_decoder(self, num_rows: int, room: int) -> Decoder:
        shape = _cache_shape(self.vlm, num_rows * room)
        if self.storage is None or self.storage.numel() < math.prod(shape):
            self.decoders.clear()
            self.storage = None  # given back before more is asked for
            self.storage = _storage(self.vlm, shape)
        return Decoder(self.vlm, num_rows, room, self.storage)


def slots(tokens: int) -> int:
    """Slots of a decoder's cache for a sequence of so many tokens, the answer's included."""
    return _next_multiple(tokens, ROOM_STEP)


def graph_length(tokens: int) -> int | None:
    """Tokens to which a single text pass is filled up, or None where it is not captured."""
    return next((length for length in CAPTURED_LENGTHS if length >= tokens), None)


def _next_multiple(value: int, step: int) -> int:
    return -(-value // step) * step


def _padded(hidden_TD: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
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


class Captured:
    """A pass over tensors that stay in place, as a CUDA graph where there is a GPU."""

    def __init__(self, run: Callable[[], Tensor], device: torch.device) -> None:
        self.run = run
        if device.type != "cuda":
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # what is compiled or chosen at the first call must not be captured
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Another thread, such as that which pins images, may ask for memory meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = run()

        def replay() -> Tensor:
            graph.replay()
            return output

        self.run = replay

    def __call__(self) -> Tensor:
        """The result, which the next call overwrites."""
        return self.run()


class Decoder:
    """Feeds one token of each sequence at a time, in fixed places.

    `num_rows` may exceed the number of sequences; what the rows beyond them hold is not read.
    """

    def __init__(self, vlm: VisionLanguageModel, num_rows: int, room: int, storage: Tensor) -> None:
        self.vlm, self.num_rows = vlm, num_rows
        self.cache = PackedCache.empty(vlm, num_rows, room, storage)
        device = vlm.device
        self.token_B, self.position_B, self.slot_B = (
            torch.zeros(num_rows, dtype=torch.long, device=device) for _ in range(3)
        )
        self.used_B = torch.ones(num_rows, dtype=torch.int32, device=device)
        self.query_starts = _lengths([1] * num_rows, device)
        self.key_starts = _lengths([room] * num_rows, device)
        self.size = 0
        self.step = Captured(self._step, device)

    def start(self, prefix: PackedCache) -> None:
        """Continue `prefix`."""
        prefix.put_into(self.cache)
        self.size, spare = len(prefix.lengths), self.num_rows - len(prefix.lengths)
        used = [length + 1 for length in prefix.lengths] + [1] * spare
        slots = [row * self.cache.room + count - 1 for row, count in enumerate(used)]
        self.used_B.copy_(torch.tensor(used, dtype=torch.int32), non_blocking=True)
        self.slot_B.copy_(torch.tensor(slots), non_blocking=True)

    def __call__(self, token_B: Tensor, position_B: Tensor, done_B: Tensor) -> Tensor:
        """Logits (B, V) of the tokens after `token_B`; the next call overwrites them.

        A row that is done reads one slot of its cache instead of all, and its logits mean nothing.
        """
        self.used_B[: self.size].masked_fill_(done_B, 1)
        self.token_B[: self.size] = token_B
        self.position_B[: self.size] = position_B
        return self.step()[: self.size]

    def _step(self) -> Tensor:
        batch = Batch.of_text(self.token_B[None], self.position_B[None])
        with attached(self.vlm, self.cache):
            hidden_1BD = self.vlm(
                batch,
                None,
                None,
                cu_seq_lens_q=self.query_starts,
                cu_seq_lens_k=self.key_starts,
                max_length_q=1,
                max_length_k=self.cache.room,
                slots_T=self.slot_B,
                used_B=self.used_B,
            )
        self.used_B += 1
        self.slot_B += 1
        return self.vlm.logits(hidden_1BD[0])


class TextPassGraph:
    """The pass over one question's text, filled up to `room` tokens that nothing attends to."""

    def __init__(self, vlm: VisionLanguageModel, room: int) -> None:
        self.vlm, self.cache = vlm, PackedCache.empty(vlm, 1, room)
        device = vlm.device
        self.ids_T = torch.full((room,), vlm.pad_id, dtype=torch.long, device=device)
        self.positions_T = torch.arange(room, device=device)
        self.used_B = torch.full((1,), room, dtype=torch.int32, device=device)
        self.starts = _lengths([room], device)
        self.run = Captured(self._run, device)

    def _run(self) -> Tensor:
        batch = Batch.of_text(self.ids_T[None], self.positions_T[None])
        room = self.cache.room
        with attached(self.vlm, self.cache):
            return self.vlm(
                batch,
                None,
                None,
                cu_seq_lens_q=self.starts,
                cu_seq_lens_k=self.starts,
                max_length_q=room,
                max_length_k=room,
                slots_T=self.positions_T,
                used_B=self.used_B,
            )

    def __call__(self, sequence: TokenSequence) -> tuple[Tensor, PackedCache]:
        """Hidden states (T, D) of the question, and its own cache."""
        length = sequence.length
        self.ids_T[:length] = sent(sequence.ids_T, self.ids_T.device)
        hidden_1TD = self.run()
        cache = PackedCache.empty(self.vlm, 1, length)
        self.cache.lengths = [length]
        self.cache.put_into(cache)
        return hidden_1TD[0, :length].clone(), cache

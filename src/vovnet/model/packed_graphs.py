"""Passes in fixed places: decoding, and the text pass of one question.

On a GPU they are captured as CUDA graphs: at these sizes starting the kernels one by one takes
longer than their work.

Shapes: B sequences, T tokens, V vocabulary, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vovnet.model.packed_cache import PackedCache, attached, cumulative
from vovnet.model.sequences import Batch, TokenSequence, sent

if TYPE_CHECKING:
    from vovnet.model.vlm import VisionLanguageModel


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
        self.query_starts = cumulative([1] * num_rows, device)
        self.key_starts = cumulative([room] * num_rows, device)
        self.size = 0
        self.step = Captured(self._step, device)

    def start(self, prefix: PackedCache) -> None:
        """Continue `prefix`."""
        prefix.put_into(self.cache)
        self.size = len(prefix.lengths)
        self.place(prefix.lengths, self.slot_B, self.used_B)

    def place(self, lengths: Sequence[int], slot_B: Tensor, used_B: Tensor) -> None:
        """Say where the next token of each sequence goes, and how many slots it then reads."""
        used = [length + 1 for length in lengths] + [1] * (self.num_rows - len(lengths))
        slots = [row * self.cache.room + count - 1 for row, count in enumerate(used)]
        used_B.copy_(torch.tensor(used, dtype=torch.int32), non_blocking=True)
        slot_B.copy_(torch.tensor(slots), non_blocking=True)

    def told(self, slot_B: Tensor, used_B: Tensor) -> dict[str, Any]:
        """What attention is told of one token of each sequence."""
        return {
            "cu_seq_lens_q": self.query_starts,
            "cu_seq_lens_k": self.key_starts,
            "max_length_q": 1,
            "max_length_k": self.cache.room,
            "slots_T": slot_B,
            "used_B": used_B,
        }

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
            hidden_1BD = self.vlm(batch, None, None, **self.told(self.slot_B, self.used_B))
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
        self.starts = cumulative([room], device)
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

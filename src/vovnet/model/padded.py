"""Passes over sequences that are padded to the longest, by transformers' ordinary attention.

Shapes: B sequences, T tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from vovnet.model import fastv_padded
from vovnet.model.fastv import dropping_of
from vovnet.model.fastv_padded import DroppedPrefix
from vovnet.model.sequences import Batch, TokenSequence, pad_left

if TYPE_CHECKING:
    from vovnet.model.vlm import VisionLanguageModel


@dataclass
class Prefix:
    """A batch that has been processed: its cache, and the mask of the cached tokens."""

    cache: DynamicCache
    mask_BT: Tensor

    def copy(self, drop: int = 0) -> Prefix:
        """A copy without the last `drop` tokens; growing it leaves this one as it is.

        The tensors are shared: a layer replaces its own and never writes into them.
        """
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        length = self.mask_BT.shape[1] - drop
        if drop:
            cache.crop(-drop)
        return Prefix(cache, self.mask_BT[:, :length])


class PaddedPasses:
    """How a model reads and continues sequences."""

    def __init__(self, vlm: VisionLanguageModel) -> None:
        self.vlm = vlm

    def hidden_states(self, sequences: Sequence[TokenSequence]) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, D) of whole sequences, and the mask (B, T) of their tokens."""
        batch = pad_left(sequences, self.vlm.pad_id, self.vlm.device)
        return self.vlm(batch, None, batch.mask_BT), batch.mask_BT

    def prefill(
        self, sequences: Sequence[TokenSequence], prefix: Prefix | None = None
    ) -> tuple[Tensor, Tensor, Prefix | DroppedPrefix]:
        """Process sequences, after `prefix` if given (which is used up).

        Returns the hidden states (B, T, D) of the new tokens, their mask, and the grown prefix.
        """
        cache, past_mask_BT = (prefix.cache, prefix.mask_BT) if prefix else (self._cache(), None)
        if (dropping := dropping_of(sequences)) is not None:
            return fastv_padded.prefill(self.vlm, sequences, dropping, cache, past_mask_BT)
        batch = pad_left(sequences, self.vlm.pad_id, self.vlm.device)
        mask_BT = batch.mask_BT
        if past_mask_BT is not None:
            mask_BT = torch.cat([past_mask_BT, mask_BT], dim=1)
        hidden_BTD = self.vlm(batch, cache, mask_BT)
        return hidden_BTD, batch.mask_BT, Prefix(cache, mask_BT)

    def _cache(self) -> DynamicCache:
        return DynamicCache(config=self.vlm.model.config.get_text_config())

    def captured_shapes(self, text_tokens: int, totals: Sequence[int]) -> set[tuple[str, int]]:
        """Nothing is captured."""
        return set()

    def decoder(
        self, prefix: Prefix | DroppedPrefix, max_new_tokens: int
    ) -> Decoder | fastv_padded.Decoder:
        """Decoding after `prefix`, which is used up."""
        if isinstance(prefix, DroppedPrefix):
            return fastv_padded.Decoder(self.vlm, prefix)
        return Decoder(self.vlm, prefix)


class Decoder:
    """Feeds one token of each sequence at a time."""

    def __init__(self, vlm: VisionLanguageModel, prefix: Prefix) -> None:
        self.vlm, self.prefix = vlm, prefix

    def __call__(self, token_B: Tensor, position_B: Tensor, done_B: Tensor) -> Tensor:
        """Logits (B, V) of the tokens after `token_B`; rows that are done are fed as the others."""
        batch = Batch.of_text(token_B[:, None], position_B[:, None])
        self.prefix.mask_BT = torch.cat([self.prefix.mask_BT, batch.mask_BT], dim=1)
        hidden_B1D = self.vlm(batch, self.prefix.cache, self.prefix.mask_BT)
        return self.vlm.logits(hidden_B1D[:, -1])

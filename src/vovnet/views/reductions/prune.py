"""Pruning: some tokens are kept as they are, the others are dropped. Shapes: K tokens, G left."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vovnet.core.cost import kept_tokens
from vovnet.views.reductions.base import Reduced, selection


def prune(tokens_KD: Tensor, mode: Literal["stride", "topk_norm"], ratio: float) -> Reduced:
    """Keep `cost.kept_tokens` of the tokens.

    `stride` takes every (K / G)-th in reading order from the first on; `topk_norm` those of
    the largest L2 norm, the earlier one of equal norms.
    """
    count = len(tokens_KD)
    left = kept_tokens(count, ratio)
    if mode == "stride":
        return selection(torch.arange(left) * count // left, tokens_KD)
    norms_K = tokens_KD.float().norm(dim=-1).cpu()
    order_K = norms_K.argsort(descending=True, stable=True)
    return selection(order_K[:left].sort().values, tokens_KD)

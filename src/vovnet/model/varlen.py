"""Attention over packed sequences by their lengths: no padding, and no row without a key.

`model.attn_implementation: varlen` uses it. The sequences of a batch lie one after the other, in
the language model and in the vision tower. On a GPU, in 16 bits, the kernel is torch's own
(`torch.nn.attention.varlen`); elsewhere each sequence attends by itself, which is slow and exact.

Shapes: T tokens of all sequences, S slots of a cache, H heads, D values of a head.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import varlen
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "varlen"

_TOWER_NAME = "flash_varlen"  # a tower is told lengths by a name with "flash" in it alone


def attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1HTD: Tensor,
    value_1HTD: Tensor,
    attention_mask: None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor | None = None,
    cu_seq_lens_k: Tensor | None = None,
    max_length_q: int = 0,
    max_length_k: int = 0,
    is_causal: bool = True,
    slots_T: Tensor | None = None,
    used_B: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers; returns (1, T, H, D).

    Without lengths it is a call of transformers' own, as from `generate`: sequences of one length.
    With `slots_T`, the new keys and values are written there into the module's `kv_cache`, of which
    each sequence then reads its first `used_B` slots; queries stand at their end.
    """
    if cu_seq_lens_q is None or cu_seq_lens_k is None:
        parts = (query_1HTD, key_1HTD, value_1HTD)
        return sdpa_attention_forward(
            module, *parts, attention_mask, scaling=scaling, is_causal=is_causal
        )
    query_THD, key_THD, value_THD = (
        part[0].transpose(0, 1).to(value_1HTD.dtype) for part in (query_1HTD, key_1HTD, value_1HTD)
    )
    if slots_T is not None:
        keys_SHD, values_SHD = cast(tuple[Tensor, Tensor], module.kv_cache)
        keys_SHD.index_copy_(0, slots_T, key_THD)
        values_SHD.index_copy_(0, slots_T, value_THD)
        key_THD, value_THD = keys_SHD, values_SHD
    if not query_THD.is_cuda or query_THD.dtype == torch.float32:
        lengths = (cu_seq_lens_q, cu_seq_lens_k, used_B)
        whole_THD = _one_by_one(query_THD, key_THD, value_THD, lengths, scaling, causal=is_causal)
        return whole_THD[None], None
    output_THD = varlen.varlen_attn(
        query_THD,
        key_THD,
        value_THD,
        cu_seq_lens_q,
        cu_seq_lens_k,
        max_length_q,
        max_length_k,
        scale=scaling,
        window_size=(-1, 0) if is_causal else (-1, -1),
        enable_gqa=key_THD.shape[1] != query_THD.shape[1],
        seqused_k=used_B,
    )
    return cast(Tensor, output_THD)[None], None


def _one_by_one(
    query_THD: Tensor,
    key_THD: Tensor,
    value_THD: Tensor,
    lengths: tuple[Tensor, Tensor, Tensor | None],
    scaling: float,
    *,
    causal: bool,
) -> Tensor:
    """The same by torch's ordinary attention, sequence after sequence."""
    query_starts, key_starts = lengths[0].tolist(), lengths[1].tolist()
    key_ends = key_starts[1:]
    if lengths[2] is not None:
        key_ends = [a + b for a, b in zip(key_starts[:-1], lengths[2].tolist(), strict=True)]
    outputs = []
    for row, key_end in enumerate(key_ends):
        queries = slice(query_starts[row], query_starts[row + 1])
        keys = slice(key_starts[row], key_end)
        query_1HQD, key_1HKD, value_1HKD = (
            part.transpose(0, 1)[None]
            for part in (query_THD[queries], key_THD[keys], value_THD[keys])
        )
        num_queries, num_keys = query_1HQD.shape[2], key_1HKD.shape[2]
        whole, mask_QK = num_queries == num_keys, None
        if causal and not whole:
            mask_QK = query_THD.new_ones(num_queries, num_keys, dtype=torch.bool)
            mask_QK = mask_QK.tril(num_keys - num_queries)
        output_1HQD = scaled_dot_product_attention(
            query_1HQD,
            key_1HKD,
            value_1HKD,
            attn_mask=mask_QK,
            is_causal=causal and whole,
            scale=scaling,
            enable_gqa=True,
        )
        outputs.append(output_1HQD[0].transpose(0, 1))
    return torch.cat(outputs)


def tell_tower(model: PreTrainedModel) -> None:
    """Have the vision tower attend by lengths as well, all images in one call."""
    model.config.vision_config._attn_implementation = _TOWER_NAME


AttentionInterface.register(NAME, attention)
AttentionInterface.register(_TOWER_NAME, attention)

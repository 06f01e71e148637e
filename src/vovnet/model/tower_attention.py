"""The attention in the vision tower's last layer, computed from that layer's input alone.

Attention kernels keep no weights. So the layer's queries and keys are computed once more, and no
other layer is touched. Qwen's towers agree in what is read here.

Shapes: P patches of all images, N of one part that attends to itself, H heads, E size of a head,
K tokens of all images.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision

from vovnet.views.reductions.base import TowerAttention


@contextmanager
def layer_inputs(layer: nn.Module, *, wanted: bool) -> Iterator[dict[str, Any]]:
    """What a layer of the tower is given in a pass inside, by the names of its parameters."""
    inputs: dict[str, Any] = {}

    def keep(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        inputs.update(named, hidden_states=arguments[0])

    if not wanted:
        yield inputs
        return
    hook = layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield inputs
    finally:
        hook.remove()


@torch.no_grad()
def tower_attention(layer: Any, inputs: dict[str, Any], area: int) -> TowerAttention:
    """Of all images' tokens, each made of `area` patches, in the order of the tower's layers."""
    hidden_PC, attention = inputs["hidden_states"], layer.attn
    projected = attention.qkv(layer.norm1(hidden_PC)).reshape(
        len(hidden_PC), 3, attention.num_heads, -1
    )
    query_PHE, key_PHE, _ = projected.unbind(1)
    query_PHE, key_PHE = apply_rotary_pos_emb_vision(
        query_PHE, key_PHE, *inputs["position_embeddings"]
    )
    ends = inputs["cu_seqlens"].tolist()
    parts = [slice(start, end) for start, end in pairwise(ends)]
    received_P = torch.cat(
        [_received(query_PHE[part], key_PHE[part], attention.scaling) for part in parts]
    )
    keys_PE = key_PHE.float().mean(dim=1)
    return TowerAttention(
        received_P.unflatten(0, (-1, area)).mean(dim=1),
        keys_PE.unflatten(0, (-1, area)).mean(dim=1),
    )


def _received(query_NHE: Tensor, key_NHE: Tensor, scaling: float) -> Tensor:
    """The attention that each patch gets from all, (N,): a sum over queries, a mean over heads."""
    received_N = torch.zeros(len(key_NHE), device=key_NHE.device)
    with torch.autocast(key_NHE.device.type, enabled=False):
        for head in range(query_NHE.shape[1]):  # one at a time, since N x N may be large
            scores_NN = scaling * query_NHE[:, head].float() @ key_NHE[:, head].float().T
            received_N += scores_NN.softmax(dim=-1).sum(dim=0)
    return received_N / query_NHE.shape[1]

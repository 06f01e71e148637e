"""Which tokens of images go on behind a layer of the language model (FastV).

Attention kernels keep no weights. The keys of the layer are in its cache, and the query of each
prompt's last token is computed once more: what that token attends to is all that is needed.

Shapes: B sequences, T tokens of one, S keys of one, H heads, G key-value heads, E size of a head,
N tokens that go on.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vovnet.model.sequences import TokenSequence
from vovnet.views.reductions.base import Dropping


def dropping_of(sequences: Sequence[TokenSequence]) -> Dropping | None:
    """What is dropped inside the language model; the sequences of a batch agree in it."""
    (dropping,) = {sequence.dropping for sequence in sequences}
    return dropping


def attention_of(query_HE: Tensor, keys_GSE: Tensor) -> Tensor:
    """What a token attends to, a mean over heads, (S,), in float32 on the CPU."""
    query_GHE = query_HE.unflatten(0, (len(keys_GSE), -1))
    scores_GHS = query_GHE.float() @ keys_GSE.float().transpose(1, 2)
    scores_GHS = scores_GHS * query_HE.shape[-1] ** -0.5
    return scores_GHS.softmax(dim=-1).mean(dim=(0, 1)).cpu()


def places_left(sequence: TokenSequence, attention_T: Tensor) -> Tensor:
    """The places of the tokens that go on, (N,): all text, and image tokens by their attention.

    Of equal ones the earlier goes on.
    """
    assert sequence.dropping is not None
    images = sequence.image_mask_T.nonzero()[:, 0]
    ranked = attention_T[images].argsort(descending=True, stable=True)
    goes_on_T = ~sequence.image_mask_T
    goes_on_T[images[ranked[: sequence.dropping.kept(len(images))]]] = True
    return goes_on_T.nonzero()[:, 0]


def shortened(sequence: TokenSequence, places_N: Tensor) -> TokenSequence:
    """A sequence of the tokens at ascending places, of which nothing is dropped any more."""
    images, start = [], 0
    kept_K = torch.zeros(sequence.length, dtype=torch.bool)
    kept_K[places_N] = True
    kept_K = kept_K[sequence.image_mask_T]
    for image in sequence.images:
        images.append(image.take(kept_K[start : start + image.num_tokens]))
        start += image.num_tokens
    return TokenSequence(
        sequence.ids_T[places_N],
        sequence.positions_3T[:, places_N],
        sequence.image_mask_T[places_N],
        tuple(images),
    )

"""Prompts, token sequences with images in them, and their padding into batches.

Shapes: B samples, T tokens, D hidden size, K image tokens, L deepstack levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from vovnet.model.flops import Dropped
from vovnet.views.reductions.base import Dropping, ImageTokens, Reduction, TowerAttention
from vovnet.views.reductions.token_map import reduce_tokens

T = TypeVar("T")


@dataclass(frozen=True)
class Prompt:
    """A tokenised prompt without its images: `head`, `question`, then `tail`."""

    head: list[int]
    question: list[int]
    tail: list[int]
    image_first: bool

    @property
    def text_ids(self) -> list[int]:
        """What the text pass processes."""
        return self.head + self.question + self.tail

    @property
    def num_shared(self) -> int:
        """Tokens before the images, which text pass and views share."""
        return len(self.head) if self.image_first else len(self.head) + len(self.question)

    def around(self, images: Sequence[T]) -> list[list[int] | T]:
        """The parts of the prompt with the images at their place."""
        if self.image_first:
            return [self.head, *images, self.question, self.tail]
        return [self.head, self.question, *images, self.tail]


@dataclass(frozen=True)
class Pixels:
    """Preprocessed images of one sample on the CPU: patches of all, and (time, rows, columns).

    values_PC holds a patch per row; grids_N3 counts the patches of each image. `seeds` are
    checksums of the images as they are shown, for reductions that draw.
    """

    values_PC: Tensor
    grids_N3: Tensor
    seeds: tuple[int, ...]

    def pin_memory(self) -> "Pixels":
        """In memory from which a GPU reads by itself; called by torch's data loader."""
        return replace(self, values_PC=self.values_PC.pin_memory())


@dataclass(frozen=True)
class ImageFeatures:
    """One encoded image: embeddings_KD, and one tensor of the same shape per deepstack level.

    positions_2K (on the CPU) holds row and column of each token on the image's `grid`. `attention`
    is the tower's, where it was asked for.
    """

    embeddings_KD: Tensor
    deepstack: tuple[Tensor, ...]
    positions_2K: Tensor
    grid: tuple[int, int]
    seed: int
    attention: TowerAttention | None = None

    @property
    def num_tokens(self) -> int:
        return self.embeddings_KD.shape[0]

    def take(self, kept_K: Tensor) -> "ImageFeatures":
        """Some of its tokens."""
        deepstack = tuple(level[kept_K] for level in self.deepstack)
        positions_2N = self.positions_2K[:, kept_K]
        return ImageFeatures(
            self.embeddings_KD[kept_K], deepstack, positions_2N, self.grid, self.seed
        )

    def reduced(self, reductions: Sequence[Reduction]) -> "ImageFeatures":
        """The image after `reductions` of its whole grid: deepstack and positions follow.

        Which tokens are put together, and with which weights, is a constant to training: the
        gradient goes through the features alone.
        """
        if not reductions:
            return self
        told = ImageTokens(self.embeddings_KD.detach(), self.grid, self.seed, self.attention)
        left = reduce_tokens(told, reductions)
        deepstack = tuple(left.apply(level) for level in self.deepstack)
        positions_2G = self.positions_2K[:, left.anchors_G]
        embeddings_GD = left.apply(self.embeddings_KD)
        return ImageFeatures(embeddings_GD, deepstack, positions_2G, self.grid, self.seed)


@dataclass(frozen=True)
class TokenSequence:
    """Tokens of one sample with 3-D rope positions; `image_mask_T` marks image tokens.

    `dropping` says which of these are dropped inside the language model.
    """

    ids_T: Tensor
    positions_3T: Tensor
    image_mask_T: Tensor
    images: tuple[ImageFeatures, ...]
    dropping: Dropping | None = None

    @property
    def length(self) -> int:
        return self.ids_T.shape[0]

    @property
    def num_vision_tokens(self) -> int:
        return int(self.image_mask_T.sum())

    @property
    def dropped(self) -> Dropped | None:
        """What of it is dropped inside the language model."""
        if self.dropping is None:
            return None
        count = self.num_vision_tokens
        return Dropped(count - self.dropping.kept(count), self.dropping.num_layers)

    def mean_vision_tokens(self, num_layers: int) -> int:
        """The image tokens that one of `num_layers` layers of the language model processes."""
        count = self.num_vision_tokens
        return count if self.dropping is None else self.dropping.mean_tokens(count, num_layers)

    @property
    def next_position(self) -> int:
        return int(self.positions_3T.max()) + 1

    def take(self, start: int, stop: int | None = None) -> "TokenSequence":
        """The tokens [start, stop); images must lie wholly inside or outside."""
        part = slice(start, stop)
        mask_T = self.image_mask_T[part]
        images = self.images if bool(mask_T.any()) else ()
        positions_3T = self.positions_3T[:, part]
        return TokenSequence(self.ids_T[part], positions_3T, mask_T, images, self.dropping)


@dataclass(frozen=True)
class Batch:
    """Left-padded sequences, or packed ones as a single row; `mask_BT` is 1 at real tokens.

    `image_places_K` are the places of the image tokens among all B * T. They are found on the CPU:
    a device that is asked where a mask is true makes the host wait for all its earlier work.
    """

    ids_BT: Tensor
    mask_BT: Tensor
    positions_3BT: Tensor
    image_places_K: Tensor
    images: tuple[ImageFeatures, ...]

    @classmethod
    def of_text(cls, ids_BT: Tensor, positions_BT: Tensor) -> "Batch":
        """Tokens without any padding or image; text has the same position on all axes."""
        no_places_K = ids_BT.new_empty(0)
        positions_3BT = positions_BT.expand(3, *ids_BT.shape)
        return cls(ids_BT, torch.ones_like(ids_BT), positions_3BT, no_places_K, ())


def assemble(segments: Sequence[list[int] | ImageFeatures], image_token_id: int) -> TokenSequence:
    """Join text segments and images on the CPU; each image takes the positions of its grid.

    Rope positions follow Qwen's: text advances all three axes by one per token; an image
    at position p has time p, rows p.. and columns p.., and the text after it goes on at
    p + max(rows, columns) of its full grid, also where tokens were dropped from it.
    """
    ids: list[int] = []
    positions: list[Tensor] = []
    mask: list[bool] = []
    images: list[ImageFeatures] = []
    position = 0
    for segment in segments:
        if isinstance(segment, ImageFeatures):
            count = segment.num_tokens
            ids += [image_token_id] * count
            mask += [True] * count
            time_1K = torch.zeros(1, count, dtype=torch.long)
            positions.append(torch.cat([time_1K, segment.positions_2K]) + position)
            position += max(segment.grid)
            images.append(segment)
        else:
            ids += segment
            mask += [False] * len(segment)
            positions.append(torch.arange(position, position + len(segment)).expand(3, -1))
            position += len(segment)
    ids_T, mask_T = torch.tensor(ids, dtype=torch.long), torch.tensor(mask, dtype=torch.bool)
    return TokenSequence(ids_T, torch.cat(positions, dim=1), mask_T, tuple(images))


def pad_left(sequences: Sequence[TokenSequence], pad_token_id: int, device: torch.device) -> Batch:
    """Pad to the longest sequence on the left, so that all end at the same place."""
    longest = max(sequence.length for sequence in sequences)
    shape = (len(sequences), longest)
    ids_BT = torch.full(shape, pad_token_id, dtype=torch.long)
    mask_BT = torch.zeros(shape, dtype=torch.long)
    positions_3BT = torch.zeros((3, *shape), dtype=torch.long)
    image_mask_BT = torch.zeros(shape, dtype=torch.bool)
    images: list[ImageFeatures] = []
    for row, sequence in enumerate(sequences):
        start = longest - sequence.length
        ids_BT[row, start:] = sequence.ids_T
        mask_BT[row, start:] = 1
        positions_3BT[:, row, start:] = sequence.positions_3T
        image_mask_BT[row, start:] = sequence.image_mask_T
        images += sequence.images
    return Batch(
        sent(ids_BT, device),
        sent(mask_BT, device),
        sent(positions_3BT, device),
        sent(_places(image_mask_BT), device),
        tuple(images),
    )


def sent(values: Tensor, device: torch.device) -> Tensor:
    """A copy on the device. It is queued there: the host waits for no earlier work."""
    return values.to(device, non_blocking=True)


def _places(mask: Tensor) -> Tensor:
    """Where a mask on the CPU is true, as indices of its flattened form."""
    return mask.flatten().nonzero()[:, 0]


def pack(sequences: Sequence[TokenSequence], device: torch.device) -> Batch:
    """Sequences one after the other, as a batch of one row without padding."""
    ids_1T = torch.cat([sequence.ids_T for sequence in sequences])[None]
    positions_3T = torch.cat([sequence.positions_3T for sequence in sequences], dim=1)
    image_mask_T = torch.cat([sequence.image_mask_T for sequence in sequences])
    return Batch(
        sent(ids_1T, device),
        sent(torch.ones_like(ids_1T), device),
        sent(positions_3T[:, None], device),
        sent(_places(image_mask_T), device),
        tuple(image for sequence in sequences for image in sequence.images),
    )

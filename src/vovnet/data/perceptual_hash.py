"""A hash of what an image looks like: copies of another size, format or quality have a near one.

It is the difference hash (dHash): the image is shrunk to 17 x 16 grey pixels, and each bit says
whether a pixel is clearly brighter than its left neighbour. Copies differ in few of the 256 bits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from PIL import Image

SIDE = 16
NUM_BITS = SIDE * SIDE

MIN_STEP = 3
"""By so many grey levels (of 256) a pixel must be brighter: noise in flat areas sets no bit."""

MIN_SET_BITS = 16
"""An image with fewer set bits is too plain: other plain images would have the same ones."""

MAX_DISTANCE = 8
"""Images whose hashes differ in at most so many bits count as copies."""


def perceptual_hash(image: Image.Image) -> str:
    """256 bits as 64 hexadecimal digits; "" for a plain image."""
    small = image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.int16)
    bits = np.diff(grey, axis=1) >= MIN_STEP
    return np.packbits(bits).tobytes().hex() if bits.sum() >= MIN_SET_BITS else ""


class NearHashes:
    """An index of hashes that finds those within MAX_DISTANCE bits of a given one.

    Each hash is cut into MAX_DISTANCE + 1 bands. Two hashes that differ in no more than
    MAX_DISTANCE bits have at least one band in common, so that only such pairs are compared.
    """

    def __init__(self, hashes: Iterable[str]) -> None:
        self._by_band: dict[tuple[int, int], list[int]] = defaultdict(list)
        for value in sorted({int(text, 16) for text in hashes}):
            for band in _bands(value):
                self._by_band[band].append(value)

    def near(self, text: str) -> list[str]:
        """The hashes of the index that are near this one, sorted."""
        value = int(text, 16)
        close = {
            other
            for band in _bands(value)
            for other in self._by_band.get(band, ())
            if (other ^ value).bit_count() <= MAX_DISTANCE
        }
        return [f"{other:0{NUM_BITS // 4}x}" for other in sorted(close)]


def _bands(value: int) -> list[tuple[int, int]]:
    edges = [NUM_BITS * index // (MAX_DISTANCE + 1) for index in range(MAX_DISTANCE + 2)]
    return [
        (first, (value >> first) & ((1 << (last - first)) - 1)) for first, last in pairwise(edges)
    ]

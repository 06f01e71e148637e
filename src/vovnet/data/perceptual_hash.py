"""A hash of what an image looks like: copies of another size, format or quality have a near one.

It is the difference hash (dHash): the image is shrunk to 17 x 16 grey pixels, and each bit says
whether a pixel is clearly brighter than its left neighbour. Copies differ in few of the 256 bits.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from PIL import Image

SIDE = 16

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

    The bits of each hash are dealt to more than MAX_DISTANCE bands. Two hashes that differ in no
    more than MAX_DISTANCE bits have at least one band in common, so that only such pairs are
    compared. Neighbouring bits are in different bands: the flat margins of charts and documents,
    which many images have, fill no band.
    """

    def __init__(self, hashes: Iterable[str]) -> None:
        self._by_band: dict[tuple[int, int], set[str]] = defaultdict(set)
        for text in hashes:
            for band in _bands(text):
                self._by_band[band].add(text)

    def near(self, text: str) -> list[str]:
        """The hashes of the index that are near this one, sorted."""
        value = int(text, 16)
        others = set().union(*(self._by_band.get(band, ()) for band in _bands(text)))
        close = (other for other in others if (int(other, 16) ^ value).bit_count() <= MAX_DISTANCE)
        return sorted(close)


def _bands(text: str) -> list[tuple[int, int]]:
    bits = f"{int(text, 16):0{4 * len(text)}b}"
    return [(at, int(bits[at :: MAX_DISTANCE + 1], 2)) for at in range(MAX_DISTANCE + 1)]

"""Small pictures for a page, of which all together have a bounded size."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from vovnet.data.decoder import open_image

SIDES = (160, 128, 96, 64)
"""Longest side of a thumbnail in pixels, the first at which all of them fit."""

MAX_BYTES = 24_000_000
"""Of all encoded thumbnails."""

NUM_TRIED = 48
"""Pictures from which the size of all is estimated."""

QUALITY = 80
EFFORT = 1
"""Of encoding; the usual 4 takes more than twice the time, for a tenth fewer bytes."""


@dataclass(frozen=True)
class Thumbnails:
    """Pictures by the hash of their file, as texts that a page can show.

    `missing` files are not there, and `left_out` ones would make the page too large.
    """

    urls: Mapping[str, str]
    missing: int
    left_out: int


def thumbnails(pictures: Mapping[str, Path]) -> Thumbnails:
    """A thumbnail of each picture, by the hash of its file; a damaged file is an error."""
    there = {digest: path for digest, path in pictures.items() if path.exists()}
    side, urls, size = _side(there), dict[str, str](), 0
    for digest, path in there.items():
        content = _encoded(open_image(path, digest), side)
        size += len(content)
        if size > MAX_BYTES:
            break
        urls[digest] = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    return Thumbnails(urls, len(pictures) - len(there), len(there) - len(urls))


def _side(pictures: Mapping[str, Path]) -> int:
    """The largest side at which all pictures are likely to fit, judged by some of them."""
    tried = list(pictures)[:: max(1, len(pictures) // NUM_TRIED)]
    images = [open_image(pictures[digest]) for digest in tried]
    return next((side for side in SIDES if _estimate(images, side, len(pictures))), SIDES[-1])


def _estimate(images: Sequence[Image.Image], side: int, count: int) -> bool:
    sizes = [len(_encoded(image, side)) for image in images]
    return sum(sizes) * count <= MAX_BYTES * len(sizes)


def _encoded(image: Image.Image, side: int) -> bytes:
    small, file = image.copy(), BytesIO()
    small.thumbnail((side, side))
    small.save(file, "WEBP", quality=QUALITY, method=EFFORT)
    return file.getvalue()

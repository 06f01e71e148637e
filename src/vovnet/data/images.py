"""The images of a prepared sample, for models."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from PIL import Image

from vovnet.config import Settings
from vovnet.core.errors import DataError
from vovnet.core.layout import Layout
from vovnet.core.records import ImageRef, Sample
from vovnet.data.decoder import open_image
from vovnet.data.sets import image_paths

MAX_PIXELS_KEPT = 1 << 27
"""Of all images of a sample: half a GiB. Of larger ones each is decoded whenever it is read."""


def load_images(settings: Settings, layout: Layout, sample: Sample) -> Sequence[Image.Image]:
    """The images of a sample, checked against the sizes that preparation recorded."""
    images = unread_images(settings, layout, sample)
    pixels = sum(reference.width * reference.height for reference in sample.images)
    return list(images) if pixels <= MAX_PIXELS_KEPT else images


def unread_images(settings: Settings, layout: Layout, sample: Sample) -> Sequence[Image.Image]:
    """The same images, each of which is decoded whenever it is read."""
    return _Images(sample, image_paths(settings, layout, sample))


@dataclass(frozen=True, eq=False)
class _Images(Sequence[Image.Image]):
    """Images that are decoded when they are read, so that one of them is in memory at a time."""

    sample: Sample
    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image.Image]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | list[Image.Image]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        path, reference = self.paths[index], self.sample.images[index]
        return _checked(open_image(path, reference.sha256), path, reference, self.sample.id)


def _checked(image: Image.Image, path: Path, expected: ImageRef, name: str) -> Image.Image:
    if image.size != (expected.width, expected.height):
        raise DataError(
            f"{path}: the image is {image.width}x{image.height} pixels, sample {name!r}"
            f" says {expected.width}x{expected.height}"
        )
    return image

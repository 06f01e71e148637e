"""The images of a prepared sample, for models."""

from PIL import Image

from vovnet.config import Settings
from vovnet.core.errors import DataError
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.decoder import open_image
from vovnet.data.sets import image_paths


def load_images(settings: Settings, layout: Layout, sample: Sample) -> list[Image.Image]:
    """The images of a sample, checked against the sizes that preparation recorded."""
    images = []
    for path, reference in zip(image_paths(settings, layout, sample), sample.images, strict=True):
        image = open_image(path, reference.sha256)
        if image.size != (reference.width, reference.height):
            raise DataError(
                f"{path}: the image is {image.width}x{image.height} pixels, sample {sample.id!r}"
                f" says {reference.width}x{reference.height}"
            )
        images.append(image)
    return images

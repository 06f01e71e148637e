"""The one decoder of prepared images, for models and for contact sheets."""

from pathlib import Path

from PIL import Image

from vovnet.config import Settings
from vovnet.core.errors import DataError, one_line
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.sets import image_paths


def load_images(settings: Settings, layout: Layout, sample: Sample) -> list[Image.Image]:
    """The images of a sample, checked against the sizes that preparation recorded."""
    images = []
    for path, reference in zip(image_paths(settings, layout, sample), sample.images, strict=True):
        image = open_image(path)
        if image.size != (reference.width, reference.height):
            raise DataError(
                f"{path}: the image is {image.width}x{image.height} pixels, sample {sample.id!r}"
                f" says {reference.width}x{reference.height}"
            )
        images.append(image)
    return images


def open_image(path: Path) -> Image.Image:
    """Decode an image of a prepared dataset to RGB; a missing or broken file is one clear error."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{path}: image not found") from None
    except Exception as error:  # decoders raise whatever the broken bytes lead them into
        raise DataError(f"{path}: not a readable image ({one_line(error)})") from None

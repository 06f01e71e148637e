"""The one decoder of prepared images, for models and for contact sheets."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from vovnet.core.errors import DataError, one_line


def open_image(path: Path) -> Image.Image:
    """Decode an image of a prepared dataset to RGB; a missing or broken file is one clear error."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{path}: image not found") from None
    except Exception as error:  # decoders raise whatever the broken bytes lead them into
        raise DataError(f"{path}: not a readable image ({one_line(error)})") from None

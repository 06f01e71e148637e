"""The one decoder of images: what a person would see who opens the file.

Everything that looks at an image calls it: preparation and its hashes, the contact sheet, training,
observation and the model.
"""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from vovnet.core.errors import DataError, one_line
from vovnet.core.files import check_is_file, sha256_bytes

FORMATS = {"BMP": "bmp", "GIF": "gif", "JPEG": "jpg", "MPO": "jpg", "PNG": "png", "TIFF": "tif"}
FORMATS |= {"WEBP": "webp"}
"""The image formats that are accepted, by PIL's name, and the suffix of a file of each."""

_OPENERS = [name for name in FORMATS if name != "MPO"]  # PIL opens MPO through JPEG

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what stands the stored pixels upright."""

BAND_PIXELS = 1 << 22
"""Of an image that are converted at once."""

_WHITE = 255
_GREY_BITS = {"L;2": 2, "L;4": 4}
"""How PNG stores greys of fewer than 8 bits, by PIL's name."""
_COLOURS_OF_16_BITS = "RGB;16B"
"""The same of colours."""


def decode(content: bytes, where: str) -> tuple[str, Image.Image]:
    """The format of an encoded image, and the image in RGB, 8 bits, as it is displayed.

    It is the first frame, turned as its EXIF data says, and on white where it is transparent. Grey
    of up to 16 bits is scaled to 8. EXIF data that cannot be read turns nothing. An image that
    cannot be decoded, or whose pixels have no known white (floating point, 32 bits), is a
    DataError, which begins with `where`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(content), formats=_OPENERS) as image:
                return str(image.format), _displayed(image, content)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = Image.MAX_IMAGE_PIXELS
        raise DataError(f"{where}: the image has more than {limit} pixels") from None
    except Exception as error:  # decoders raise whatever the broken bytes lead them into
        unidentified = isinstance(error, Image.UnidentifiedImageError)
        reason = "unknown" if unidentified else one_line(error)
        raise DataError(f"{where}: not a decodable image ({reason})") from None


def open_image(path: Path, sha256: str | None = None) -> Image.Image:
    """Decode an image file; one that is missing, broken, or has another hash is a clear error."""
    try:
        check_is_file(path)
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: image not found") from None
    except OSError as error:
        raise DataError(f"{path}: not readable ({error.strerror})") from None
    if sha256 not in (None, sha256_bytes(content)):
        raise DataError(
            f"{path}: damaged, its content is not what was prepared: remove the manifests in"
            f" {path.parents[1]}, and call again to have it prepared again"
        )
    return decode(content, str(path))[1]


def _displayed(image: ImageFile.ImageFile, content: bytes) -> Image.Image:
    tile: Any = image.tile[0] if image.tile else None  # loading forgets it
    image.load()
    stored_as = tile[3] if tile and image.format == "PNG" else ""
    if stored_as == _COLOURS_OF_16_BITS and "transparency" in image.info:
        shown = _without_key(image, content)
    else:
        shown = _in_bands(image, stored_as)
    if tile and image.format == "GIF" and tile[1] != (0, 0, *image.size):  # a smaller first frame
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(shown.crop(tile[1]), tile[1][:2])
        shown = canvas
    turn = _TURNS.get(_orientation(image))
    return shown if turn is None else shown.transpose(turn)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # the data beside the pixels is broken, the pixels are not
        return None


def _in_bands(image: Image.Image, stored_as: str) -> Image.Image:
    """`_in_rgb`, a part of the rows at a time, so that a large image is not held in many forms."""
    tags: Any = getattr(image, "tag_v2", {})  # of TIFF
    rows = max(1, BAND_PIXELS // image.width)
    if image.height <= rows:
        return _in_rgb(image, stored_as, tags)
    shown = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(image.height, top + rows)))
        shown.paste(_in_rgb(band, stored_as, tags), (0, top))
    return shown


def _in_rgb(image: Image.Image, stored_as: str, tags: Any) -> Image.Image:
    """The image in RGB and on white.

    `stored_as` is PIL's name of how a PNG holds its pixels, and `tags` are those of a TIFF.
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode!r} has no known white, expected pixels of 8 or 16 bits")
    if image.mode == "La":  # of grey PIL cannot undo it in one step
        image = image.convert("LA")
    key = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        return _grey(*_scaled(image, key, tags))
    if key is not None and image.mode in ("1", "L"):
        grey, largest = np.asarray(image.convert("L")), 2 ** _GREY_BITS.get(stored_as, 8) - 1
        return _grey(grey, grey == key * _WHITE // largest)
    if key is not None and image.mode == "RGB":
        colours = np.array(image)
        colours[(colours == key).all(axis=-1)] = _WHITE
        return Image.fromarray(colours)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")


def _without_key(image: ImageFile.ImageFile, content: bytes) -> Image.Image:
    """A PNG of 16-bit colours, of which one is transparent, on white.

    PIL keeps the upper 8 bits of each value. Read as if the bytes came in the other order, the same
    file yields the lower 8, by which near colours are told apart.
    """
    with Image.open(BytesIO(content), formats=["PNG"]) as again:
        again.tile = [again.tile[0]._replace(args="RGB;16L")]
        lower = np.asarray(again)
    colours, key = np.array(image), np.array(image.info["transparency"])
    for row, low in zip(colours, lower, strict=True):
        row[((row == key >> 8) & (low == key & 255)).all(axis=-1)] = _WHITE
    return Image.fromarray(colours)


def _scaled(
    image: Image.Image, key: int | None, tags: Any
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Grey of more than 8 bits in 8, (H, W), and which pixels have the transparent value."""
    values = np.asarray(image).astype(np.int64)
    largest = 2 ** int(tags.get(ExifTags.Base.BitsPerSample, (16,))[0]) - 1
    transparent = values == (-1 if key is None else key)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # the largest value is black
        values = largest - values
    grey = (values * _WHITE + largest // 2) // largest
    return grey.astype(np.uint8), transparent


def _grey(grey: NDArray[np.uint8], transparent: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(np.where(transparent, np.uint8(_WHITE), grey)).convert("RGB")

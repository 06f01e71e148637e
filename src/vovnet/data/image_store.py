"""The image store: every distinct image once, as its original bytes, named by its hash."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Container
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TypeVar

from PIL import Image

from vovnet.core.errors import DataError, one_line
from vovnet.core.files import sha256_bytes, write_bytes
from vovnet.core.records import ImageRef
from vovnet.data.perceptual_hash import perceptual_hash

EXTENSIONS = {
    "BMP": "bmp",
    "GIF": "gif",
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "TIFF": "tif",
    "WEBP": "webp",
}
"""Image formats that are accepted, by PIL's name, and the file name extension of each."""

Key = TypeVar("Key", str, Path)

OPENERS = [name for name in EXTENSIONS if name != "MPO"]  # PIL opens MPO through JPEG

DRAFT_SIDE = 64
"""Side in pixels that a JPEG is decoded to at least; plenty for the perceptual hash."""

NUM_KNOWN = 20_000
"""So many images are remembered, so that memory does not grow with the dataset; one that is
forgotten is read again."""


def inspect(content: bytes, where: str) -> tuple[str, int, int, str]:
    """Format, width, height and perceptual hash of an encoded image.

    A DataError if it cannot be decoded. A JPEG is decoded at a fraction of its size, which
    still reads all of its data.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(content), formats=OPENERS) as image:
                width, height = image.size
                image.draft(None, (DRAFT_SIDE, DRAFT_SIDE))
                image.load()
                return str(image.format), width, height, perceptual_hash(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = Image.MAX_IMAGE_PIXELS
        raise DataError(f"{where}: the image has more than {limit} pixels") from None
    except Exception as error:  # decoders raise whatever the broken bytes lead them into
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = "unknown" if unknown else one_line(error)
        raise DataError(f"{where}: not a decodable image ({reason})") from None


def inside(relative: str, where: str) -> PurePosixPath:
    """A path that stays below the folder it is relative to; a DataError if it climbs out."""
    path = PurePosixPath(os.path.normpath(relative))
    if not relative or path.is_absolute() or path.parts[:1] == ("..",) or not path.parts:
        raise DataError(f"{where}: {relative!r} does not lie inside the image folder")
    return path


class ImageStore:
    """Writes images below `folder`; `ImageRef.path` is relative to the folder's parent.

    They lie aside until `publish`, so that a dataset that turns out to be broken leaves none
    behind. Other splits may be writing to the same folder: an image is moved in whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._aside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        self._by_hash: dict[str, ImageRef] = {}
        self._by_path: dict[Path, ImageRef] = {}  # both hold the latest NUM_KNOWN only

    def add(self, content: bytes, where: str) -> ImageRef:
        """Store encoded bytes; `where` opens the error message."""
        digest = sha256_bytes(content)
        if digest not in self._by_hash:
            kind, width, height, perceptual = inspect(content, where)
            name = f"{digest}.{EXTENSIONS[kind]}"
            if not ((self.folder / name).exists() or (self._aside / name).exists()):
                write_bytes(self._aside / name, content)
            path = f"{self.folder.name}/{name}"
            ref = ImageRef(
                path=path, width=width, height=height, sha256=digest, perceptual=perceptual
            )
            _remember(self._by_hash, digest, ref)
        return self._by_hash[digest]

    def publish(self, digests: Container[str]) -> None:
        """Move the added images with these hashes to their folder."""
        if not self._aside.is_dir():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with os.scandir(self._aside) as entries:
            for entry in entries:
                if Path(entry.name).stem in digests:
                    Path(entry).replace(self.folder / entry.name)

    def discard(self) -> None:
        """Remove the images that were added and not published."""
        shutil.rmtree(self._aside, ignore_errors=True)

    def add_file(self, root: Path, relative: str, where: str) -> ImageRef:
        """Store the image file `relative`, which must lie below `root`."""
        path = root / inside(relative, where)
        if path not in self._by_path:
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                raise DataError(f"{where}: image file {path} not found") from None
            except (OSError, ValueError) as error:
                raise DataError(f"{where}: image file {path!s} is not readable ({error})") from None
            _remember(self._by_path, path, self.add(content, where))
        return self._by_path[path]


def _remember(known: dict[Key, ImageRef], key: Key, ref: ImageRef) -> None:
    """Put an entry into a dictionary, and out its oldest one where it is full."""
    if len(known) >= NUM_KNOWN:
        del known[next(iter(known))]
    known[key] = ref

"""The store of prepared images: each distinct image once, as its original bytes."""

import os
import shutil
import warnings
from collections.abc import Container
from io import BytesIO
from pathlib import Path, PurePosixPath

from PIL import Image

from vovnet.core.errors import DataError, one_line
from vovnet.core.files import sha256_bytes, write_bytes
from vovnet.core.records import ImageRef
from vovnet.data.perceptual_hash import perceptual_hash

EXTENSIONS = {kind: kind.lower() for kind in ("BMP", "GIF", "PNG", "WEBP")}
EXTENSIONS |= {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}
"""The image formats that are accepted, by PIL's name, and the suffix of each in the store."""

OPENERS = [name for name in EXTENSIONS if name != "MPO"]  # PIL opens MPO through JPEG

DRAFT_SIDE = 64
"""A JPEG is decoded to no less than this side in pixels, which is plenty for the hash."""

NUM_REMEMBERED = 40_000
"""The store remembers so many hashes and paths, so that memory does not grow with the dataset. An
image that it has forgotten is read again."""


def inspect(content: bytes, where: str) -> tuple[str, int, int, str]:
    """Format, width, height and perceptual hash of an encoded image.

    An image that cannot be decoded is a DataError, which begins with `where`. A JPEG is decoded at
    a fraction of its size, which still reads all of its data.
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
        unidentified = isinstance(error, Image.UnidentifiedImageError)
        reason = "unknown" if unidentified else one_line(error)
        raise DataError(f"{where}: not a decodable image ({reason})") from None


def inside(relative: str, where: str) -> PurePosixPath:
    """The path, which must stay below the folder that it is relative to."""
    path = PurePosixPath(os.path.normpath(relative))
    if not relative or path.is_absolute() or path.parts[:1] == ("..",) or not path.parts:
        raise DataError(f"{where}: {relative!r} does not lie inside the image folder")
    return path


class ImageStore:
    """Writes images to `folder`, each under its hash; `ImageRef.path` starts in the parent folder.

    Images lie aside until `publish`, so that a dataset that turns out to be broken leaves none
    behind. Each is moved in whole, because other splits may be writing to the same folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._aside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        self._known: dict[str | Path, ImageRef] = {}

    def add(self, content: bytes, where: str) -> ImageRef:
        """Store an encoded image; an error message begins with `where`."""
        digest = sha256_bytes(content)
        if digest not in self._known:
            kind, width, height, perceptual = inspect(content, where)
            name = f"{digest}.{EXTENSIONS[kind]}"
            if not ((self.folder / name).exists() or (self._aside / name).exists()):
                write_bytes(self._aside / name, content)
            path, sides = f"{self.folder.name}/{name}", {"width": width, "height": height}
            ref = ImageRef(path=path, **sides, sha256=digest, perceptual=perceptual)
            self._remember(digest, ref)
        return self._known[digest]

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
        if path not in self._known:
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                raise DataError(f"{where}: image file {path} not found") from None
            except (OSError, ValueError) as error:
                raise DataError(f"{where}: image file {path!s} is not readable ({error})") from None
            self._remember(path, self.add(content, where))
        return self._known[path]

    def _remember(self, key: str | Path, ref: ImageRef) -> None:
        """Enter an image by its hash or its path; the oldest entry makes room."""
        if len(self._known) >= NUM_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = ref

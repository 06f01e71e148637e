"""The store of prepared images: each distinct image once, as its original bytes."""

import os
import shutil
from collections.abc import Container
from pathlib import Path, PurePosixPath

from vovnet.core.errors import DataError
from vovnet.core.files import sha256_bytes, write_bytes
from vovnet.core.records import ImageRef
from vovnet.data.decoder import FORMATS, decode
from vovnet.data.perceptual_hash import perceptual_hash

NUM_REMEMBERED = 40_000
"""The store remembers so many hashes and paths, so that memory does not grow with the dataset. An
image that it has forgotten is read again."""


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
            kind, image = decode(content, where)
            name = f"{digest}.{FORMATS[kind]}"
            if not ((self.folder / name).exists() or (self._aside / name).exists()):
                write_bytes(self._aside / name, content)
            ref = ImageRef(
                path=f"{self.folder.name}/{name}",
                width=image.width,
                height=image.height,
                sha256=digest,
                perceptual=perceptual_hash(image),
            )
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

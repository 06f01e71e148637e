"""The store of prepared images: each distinct image once, as its original bytes."""

import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TextIO

from vovnet.core.errors import DataError
from vovnet.core.files import check_is_file, sha256_bytes, synchronise, write_bytes
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


def _names(folder: Path) -> Iterator[str]:
    """The names in a folder, one at a time; none where there is no such folder."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries)


class ImageStore:
    """Writes images to `folder`, each under its hash; `ImageRef.path` starts in the parent folder.

    Images lie aside until `publish`, so that a dataset that turns out to be broken leaves none
    behind. Each is moved in whole, because other splits may be writing to the same folder.

    `files_read` gets a line of JSON for every image file that is read: its name below the image
    folder, size in bytes, time of change in ns and SHA-256. A name that must stay free, because its
    file would be read instead of another one, has null in their place.
    """

    def __init__(self, folder: Path, files_read: TextIO) -> None:
        self.folder = folder
        self._files_read = files_read
        self._aside = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.partial")
        self._known: dict[str | Path, ImageRef] = {}

    def add(self, content: bytes, where: str) -> ImageRef:
        """Store an encoded image; an error message begins with `where`."""
        digest = sha256_bytes(content)
        if digest not in self._known:
            kind, image = decode(content, where)
            name = f"{digest}.{FORMATS[kind]}"
            if not any(self._holds(folder / name, content) for folder in self._folders):
                write_bytes(self._aside / name, content, durable=False)
            ref = ImageRef(
                path=f"{self.folder.name}/{name}",
                width=image.width,
                height=image.height,
                sha256=digest,
                perceptual=perceptual_hash(image),
            )
            self._remember(digest, ref)
        return self._known[digest]

    @property
    def _folders(self) -> tuple[Path, Path]:
        return self.folder, self._aside

    def _holds(self, path: Path, content: bytes) -> bool:
        """Whether an image is there as it was added; a damaged one is written again."""
        return path.is_file() and path.read_bytes() == content

    def publish(self, digests: Collection[str]) -> None:
        """Move the added images with these hashes to their folder, where all of them must be then.

        They are on the disk before.
        """
        os.sync()
        if self._aside.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in _names(self._aside):
                if Path(name).stem in digests:
                    (self._aside / name).replace(self.folder / name)
            synchronise(self.folder)
        there = sum(Path(name).stem in digests for name in _names(self.folder))
        if there < len(digests):
            raise DataError(
                f"{self.folder}: {len(digests) - there} of {len(digests)} images did not arrive, as"
                " if another process had removed them: prepare the split again"
            )

    def discard(self) -> None:
        """Remove the images that were added and not published."""
        shutil.rmtree(self._aside, ignore_errors=True)

    def add_file(self, root: Path, relative: str, where: str) -> ImageRef:
        """Store the image file `relative`, which must lie below `root`."""
        name = inside(relative, where)
        path = root / name
        if path not in self._known:
            try:
                status = path.stat()
                check_is_file(path)
                content = path.read_bytes()
            except FileNotFoundError:
                raise DataError(f"{where}: image file {path} not found") from None
            except DataError as error:
                raise DataError(f"{where}: image file {error}") from None
            except (OSError, ValueError) as error:
                raise DataError(f"{where}: image file {path!s} is not readable ({error})") from None
            ref = self.add(content, where)
            self._record(name, status.st_size, status.st_mtime_ns, ref.sha256)
            self._remember(path, ref)
        return self._known[path]

    def add_first(self, root: Path, names: Sequence[str], where: str) -> ImageRef:
        """Store the first of these image files that is there."""
        places = [inside(name, where) for name in names]
        there = [(root / place).is_file() for place in places]
        first = there.index(True) if any(there) else 0
        if root / places[first] not in self._known:
            for place in places[:first]:
                self._record(place, None, None, None)
        return self.add_file(root, names[first], where)

    def _record(
        self, name: PurePosixPath, size: int | None, time_ns: int | None, digest: str | None
    ) -> None:
        self._files_read.write(json.dumps([str(name), size, time_ns, digest]) + "\n")

    def _remember(self, key: str | Path, ref: ImageRef) -> None:
        """Enter an image by its hash or its path; the oldest entry makes room."""
        if len(self._known) >= NUM_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = ref

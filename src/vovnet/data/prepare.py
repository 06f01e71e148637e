"""From a raw dataset in its original layout to unified samples, images and a manifest."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vovnet.config import Settings
from vovnet.core.errors import DataError
from vovnet.core.files import writing
from vovnet.core.layout import Layout
from vovnet.core.records import SCHEMA_VERSION, Sample
from vovnet.data.formats import format_of
from vovnet.data.formats.source import NameCounts, Source
from vovnet.data.hub import fetched
from vovnet.data.image_store import ImageStore
from vovnet.data.raw_files import find_files, find_further_files
from vovnet.data.samples import write_samples
from vovnet.pipeline.manifest import write_manifest


def prepare(settings: Settings, dataset: str, split: str, layout: Layout) -> dict[str, Any]:
    """Write the JSONL of a split, its images and, last, the manifest; returns counts.

    Equal raw files give equal bytes. The images of all splits of a dataset lie together.
    """
    definition, read = settings.data.dataset(dataset), format_of(settings, dataset).read
    origin = {"hub": fetched(dataset, definition)} if definition.source == "hub" else {}
    manifest = layout.data_manifest(dataset, split)
    target = layout.samples(dataset, split)
    digests = NameCounts()
    with writing(layout.image_files(dataset, split)) as files_read:
        images = ImageStore(layout.data(dataset) / "images", files_read)
        source = open_source(settings, dataset, split, images)
        manifest.unlink(missing_ok=True)
        try:
            num_samples = write_samples(target, _checked(source, read(source), digests))
        finally:
            images.discard()
    counts = {
        "num_samples": num_samples,
        "num_images": len(digests),
        "skipped": dict(sorted(source.skipped.items())),
    }
    write_manifest(
        manifest,
        step="prepare",
        settings=settings,
        inputs={_name(path, source.root): path for path in source.inputs},
        outputs={target.name: target},
        dataset=dataset,
        split=split,
        images_sha256=_digest_of(digests),
        schema_version=SCHEMA_VERSION,
        **origin,
        **source.facts,
        **counts,
    )
    return counts


def open_source(settings: Settings, dataset: str, split: str, images: ImageStore) -> Source:
    """Find the raw files of a split; errors name the configuration's key."""
    definition = settings.data.dataset(dataset)
    root = Path(definition.root)
    return Source(
        dataset=dataset,
        split=split,
        root=root,
        files=find_files(settings, dataset, split),
        image_root=root / (definition.image_root or ""),
        images=images,
        data=settings.data,
        further=find_further_files(settings, dataset, split),
    )


def _checked(source: Source, samples: Iterable[Sample], digests: NameCounts) -> Iterator[Sample]:
    """Pass the samples on and collect their image hashes, then publish the images.

    An empty dataset is refused.
    """
    empty = True
    for sample in samples:
        empty = False
        for image in sample.images:
            digests.add(image.sha256)
        yield sample
    if empty:
        skipped = ", ".join(f"{count} {reason}" for reason, count in source.skipped.items())
        reasons = f" (skipped: {skipped})" if skipped else ""
        raise DataError(f"{source.files[0]}: the dataset is empty, no sample was read{reasons}")
    source.images.publish(digests)


def _digest_of(digests: NameCounts) -> str:
    """One hash of all images of a split."""
    whole = hashlib.sha256()
    for number, digest in enumerate(digests):
        whole.update(("\n" if number else "").encode() + digest.encode())
    return whole.hexdigest()


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

"""From a raw dataset in its original layout to unified samples, images and a manifest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vovnet.config import DatasetSettings, Settings
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.layout import Layout
from vovnet.core.records import SCHEMA_VERSION, Sample, write_samples
from vovnet.data.formats import llava, mmbench, mmmu, textvqa
from vovnet.data.formats.mmbench_division import division_of
from vovnet.data.formats.source import Source, check_hash, find_files, find_ocr_file
from vovnet.data.hub import fetched
from vovnet.data.images import ImageStore
from vovnet.data.seen import Seen
from vovnet.pipeline.manifest import write_manifest

READERS: dict[str, Callable[[Source], Iterator[Sample]]] = {
    "llava": llava.read,
    "mmbench": mmbench.read,
    "mmmu": mmmu.read,
    "textvqa": textvqa.read,
}


def prepare(settings: Settings, dataset: str, split: str, layout: Layout) -> dict[str, Any]:
    """Write the JSONL of a split, the images it shows and, last, the manifest; returns counts.

    Equal raw files give equal bytes. The images of all splits of a dataset lie together.
    """
    chosen = _chosen(settings, dataset)
    origin: dict[str, Any] = {}
    if chosen.source == "hub":
        origin["hub"] = fetched(dataset, chosen)
    source = open_source(settings, dataset, split, layout)
    if source.division:
        origin["division"] = asdict(source.division)
    manifest = layout.data_manifest(dataset, split)
    manifest.unlink(missing_ok=True)
    target = layout.samples(dataset, split)
    digests = Seen()
    samples = READERS[chosen.format](source)
    try:
        num_samples = write_samples(target, _checked(source, samples, digests))
    finally:
        source.images.discard()
    facts = {
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
        **facts,
    )
    return facts


def open_source(settings: Settings, dataset: str, split: str, layout: Layout) -> Source:
    """Find the raw files of a split; errors name the configuration's key."""
    chosen = _chosen(settings, dataset)
    root = Path(chosen.root)
    files = find_files(dataset, chosen, split)
    check_hash(dataset, chosen, split, files)
    return Source(
        dataset=dataset,
        split=split,
        root=root,
        files=files,
        image_root=root / (chosen.image_root or ""),
        images=ImageStore(layout.data(dataset) / "images"),
        division=division_of(settings, dataset, split),
        ocr_file=find_ocr_file(dataset, chosen, split),
    )


def _chosen(settings: Settings, dataset: str) -> DatasetSettings:
    if dataset not in settings.data.datasets:
        names = sorted(settings.data.datasets)
        raise ConfigError(f"data.datasets: no dataset named {dataset!r}, expected one of {names}")
    return settings.data.datasets[dataset]


def _checked(source: Source, samples: Iterable[Sample], digests: Seen) -> Iterator[Sample]:
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
        reasons = _describe(source.skipped)
        raise DataError(f"{source.files[0]}: the dataset is empty, no sample was read{reasons}")
    source.images.publish(digests)


def _digest_of(digests: Seen) -> str:
    """One hash of all images of a split."""
    whole = hashlib.sha256()
    for number, digest in enumerate(digests):
        whole.update(("\n" if number else "").encode() + digest.encode())
    return whole.hexdigest()


def _describe(skipped: Counter[str]) -> str:
    if not skipped:
        return ""
    return f" (skipped: {', '.join(f'{count} {reason}' for reason, count in skipped.items())})"


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

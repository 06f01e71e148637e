"""The raw files of a split that the DAG declares as inputs of its preparation.

This is apart from what finds and reads them, so that an edit here prepares nothing again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from vovnet.config import Settings
from vovnet.core.errors import DataError
from vovnet.core.files import HashCache, read_json, read_jsonl, sha256_file, writing
from vovnet.core.layout import Layout
from vovnet.data.formats import format_of
from vovnet.data.raw_files import files_of, is_pattern, raw_manifest

THREADS = 16
"""So many files are looked at side by side: over a network each takes its time."""

BLOCK, PART = 1 << 16, 1 << 10
"""Files whose entries are in memory at a time, and those that one thread looks at in turn."""


def raw_inputs(settings: Settings, dataset: str, split: str, hashes: HashCache) -> list[Path]:
    """The raw files of a split that another step makes: its manifest, and the split's own file.

    Rendered files that were edited by hand since are listed as well.
    """
    definition = settings.data.dataset(dataset)
    root, name = Path(definition.root), definition.files[split]
    if definition.source == "local":
        return []
    manifest = raw_manifest(definition)
    if definition.source == "hub":
        return [manifest]
    listed = [] if is_pattern(name) else [root / name]
    others = [other for other in definition.files.values() if other != name]
    return list(dict.fromkeys([manifest, *listed, *_edited(root, manifest, others, hashes)]))


def own_files(settings: Settings, dataset: str, split: str) -> list[Path]:
    """The raw files of a split that are the user's own, images apart; none of other datasets.

    They are listed as far as they exist: the DAG of a configuration can be seen without its data,
    and `vovnet prepare` names what is missing.
    """
    definition = settings.data.dataset(dataset)
    if definition.source != "local":
        return []
    further = format_of(settings, dataset).further_files(definition, split).values()
    paths = [Path(definition.root) / name for name in further]
    return [*files_of(settings, dataset, split), *(path for path in paths if path.is_file())]


def images_changed(settings: Settings, layout: Layout, dataset: str, split: str) -> bool:
    """Whether an image file that a split was prepared from is another one by now, or gone.

    Preparation wrote down which files it read, so that others beside them do not count. Each is
    looked at once, and read only where its time has changed and its size has not. Of a file with
    the same content the new time is written down.
    """
    definition, listing = settings.data.dataset(dataset), layout.image_files(dataset, split)
    if definition.source != "local" or not listing.is_file():
        return False  # what is rendered or downloaded has a manifest
    root = Path(definition.root) / (definition.image_root or "")
    entries = (entry for _, entry in read_jsonl(listing))
    new_times: dict[str, int] = {}
    with ThreadPoolExecutor(THREADS) as threads:
        while block := list(islice(entries, BLOCK)):
            parts = (block[first : first + PART] for first in range(0, len(block), PART))
            for times in threads.map(partial(_new_times, root), parts):
                if times is None:
                    return True
                new_times |= times
    if new_times:
        with writing(listing) as file:
            for _, (name, size, time_ns, digest) in read_jsonl(listing):
                entry = [name, size, new_times.get(name, time_ns), digest]
                file.write(json.dumps(entry) + "\n")
    return False


def _new_times(root: Path, entries: Iterable[list[Any]]) -> dict[str, int] | None:
    """The times of files that were touched only; None where one was changed."""
    times, folder = {}, f"{root}/"
    for name, size, time_ns, digest in entries:
        path = folder + name
        try:
            status = os.stat(path)  # noqa: PTH116 (a Path for each would cost as much again)
        except OSError:
            if size is None:
                continue
            return None
        if status.st_size != size:
            return None
        if status.st_mtime_ns != time_ns:
            if sha256_file(path) != digest:
                return None
            times[name] = status.st_mtime_ns
    return times


def _edited(root: Path, manifest: Path, others: Iterable[str], hashes: HashCache) -> list[Path]:
    """Rendered files whose content is no longer that of the manifest, or that it does not name.

    Only files that are newer than the manifest are read. The files of other splits, which the
    patterns `others` match, do not count.
    """
    if not manifest.is_file():
        return []
    written = manifest.stat().st_mtime_ns
    elsewhere = {path for pattern in others for path in root.glob(pattern)} | {manifest}
    files = (path for path in root.rglob("*") if path.is_file() and path not in elsewhere)
    newer = sorted(path for path in files if path.stat().st_mtime_ns > written)
    recorded = _recorded(manifest) if newer else {}
    current = hashes.hashes(newer)
    return [path for path in newer if recorded.get(str(path.relative_to(root))) != current[path]]


def _recorded(manifest: Path) -> dict[str, str]:
    """Name -> hash of the files that a manifest of rendered files names, none if it is damaged."""
    with suppress(DataError, LookupError, TypeError, AttributeError):
        facts = read_json(manifest)
        outputs = {name: file["sha256"] for name, file in facts["outputs"].items()}
        return outputs | facts["pictures"]
    return {}

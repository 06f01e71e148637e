"""The raw files of a split that the DAG declares as inputs of its preparation.

This is apart from what finds and reads them, so that an edit here prepares nothing again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vovnet.config import Settings
from vovnet.core.errors import DataError
from vovnet.core.files import HashCache, read_json
from vovnet.data.formats import format_of
from vovnet.data.raw_files import is_pattern, raw_manifest


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
    """The raw files and folders of a split that are the user's own, none of other datasets.

    They are listed as far as they exist: the DAG of a configuration can be seen without its data,
    and `vovnet prepare` names what is missing.
    """
    definition = settings.data.dataset(dataset)
    root, name = Path(definition.root), definition.files[split]
    if definition.source != "local":
        return []
    if is_pattern(name):
        return sorted(root.glob(name))
    if (root / name).is_dir():
        return sorted(path for path in (root / name).rglob("*") if path.is_file())
    further = format_of(settings, dataset).further_files(definition, split).values()
    paths = [root / other for other in (name, definition.image_root, *further) if other]
    return [path for path in paths if path.exists()]


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
    """Name -> hash of the files that a manifest of rendered files names."""
    with suppress(DataError):
        facts = read_json(manifest)
        outputs = {name: file["sha256"] for name, file in facts["outputs"].items()}
        return outputs | facts["pictures"]
    return {}

"""The raw files of a dataset: which ones a split is made of, and whether they are the right ones.

`files` of a definition names for each split a file, a pattern, or a folder, which stands for the
hub's layout `<folder>/<subject>/<split>-*.parquet`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vovnet.config import DatasetSettings, Settings
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import read_json
from vovnet.data.formats import format_of
from vovnet.pipeline.hash_cache import HashCache

FETCHED, RENDERED = "fetch.manifest.json", "manifest.json"
"""Written last, below the root, by `vovnet fetch` and by `vovnet synthesize`: all is there."""

HASHES = ("md5", "sha256")
"""Algorithms by which a configuration may name the file it expects."""


def is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def hub_pattern(split: str) -> str:
    """The files of a split in a folder that has the hub's layout."""
    return f"*/{split}-*.parquet"


def find_files(settings: Settings, dataset: str, split: str) -> tuple[Path, ...]:
    """The files of a split in a stable order, checked against the hash that is expected, if any."""
    definition = settings.data.dataset(dataset)
    key = f"data.datasets.{dataset}.files.{split}"
    if split not in definition.files:
        raise ConfigError(f"{key}: no such split, expected one of {sorted(definition.files)}")
    root, name = Path(definition.root), definition.files[split]
    if (root / name).is_dir():
        files = sorted((root / name).glob(hub_pattern(split)))
    elif is_pattern(name):
        if Path(name).is_absolute():
            raise ConfigError(f"{key}: {name!r} must be relative to the dataset's root")
        files = sorted(path for path in root.glob(name) if path.is_file())
    else:
        files = [root / name] if (root / name).is_file() else []
    if not files:
        raise DataError(f"{root / name}: file not found ({key})")
    _check_hash(f"data.datasets.{dataset}.checksums.{split}", definition, split, files)
    return tuple(files)


def find_further_files(settings: Settings, dataset: str, split: str) -> dict[str, Path]:
    """The files that the format's options name for a split, by option."""
    definition = settings.data.dataset(dataset)
    named = format_of(settings, dataset).further_files(definition, split)
    paths = {option: Path(definition.root) / name for option, name in named.items()}
    for option, path in paths.items():
        if not path.is_file():
            key = f"data.datasets.{dataset}.{option}.{split}"
            raise DataError(f"{path}: file not found ({key})")
    return paths


def _check_hash(key: str, definition: DatasetSettings, split: str, files: list[Path]) -> None:
    expected = definition.checksums.get(split)
    if expected is None:
        return
    algorithm, _, digits = expected.partition(":")
    if algorithm not in HASHES or not re.fullmatch(r"[0-9a-f]+", digits):
        raise ConfigError(f"{key}: expected <algorithm>:<digits> with one of {list(HASHES)}")
    if len(files) != 1:
        raise ConfigError(f"{key}: a hash is of one file, the split has {len(files)}")
    with files[0].open("rb") as file:
        actual = hashlib.file_digest(file, algorithm).hexdigest()
    if actual != digits:
        raise DataError(
            f"{files[0]}: is another version, or damaged: its {algorithm} is {actual}, expected"
            f" {digits} ({key})"
        )


# ---- what the DAG declares -------------------------------------------------------------


def raw_manifest(definition: DatasetSettings) -> Path:
    """The manifest of a dataset that is rendered or downloaded."""
    return Path(definition.root) / (FETCHED if definition.source == "hub" else RENDERED)


def raw_inputs(settings: Settings, dataset: str, split: str, hashes: HashCache) -> list[Path]:
    """The raw files of a split that another step made: its manifest, and what that names.

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
    """Rendered files that are no longer what the manifest says, or that it does not know.

    Only files that are newer than the manifest are read. Those that `others`, the patterns of
    other splits, are made of do not count.
    """
    if not manifest.is_file():
        return []
    written = manifest.stat().st_mtime_ns
    elsewhere = {path for pattern in others for path in root.glob(pattern)} | {manifest}
    files = (path for path in root.rglob("*") if path.is_file() and path not in elsewhere)
    newer = sorted(path for path in files if path.stat().st_mtime_ns > written)
    recorded = _recorded(manifest) if newer else {}
    found = hashes.hashes(newer)
    return [path for path in newer if recorded.get(str(path.relative_to(root))) != found[path]]


def _recorded(manifest: Path) -> dict[str, str]:
    """Name -> hash of the files that a manifest of rendered files names."""
    with suppress(DataError):
        facts = read_json(manifest)
        outputs = {name: file["sha256"] for name, file in facts["outputs"].items()}
        return outputs | facts["pictures"]
    return {}

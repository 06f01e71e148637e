"""The raw files of a dataset: which ones a split is made of, and whether they are the right ones.

`files` of a definition names for each split a file, a pattern, or a folder, which stands for the
hub's layout `<folder>/<subject>/<split>-*.parquet`.
"""

from pathlib import Path

from vovnet.config import DatasetSettings, Settings
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import hash_file
from vovnet.data.formats import format_of

FETCHED, RENDERED = "fetch.manifest.json", "manifest.json"
"""Written last, below the root, by `vovnet fetch` and by `vovnet synthesize`: all is there."""


def is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def raw_manifest(definition: DatasetSettings) -> Path:
    """The manifest of a dataset that is rendered or downloaded."""
    return Path(definition.root) / (FETCHED if definition.source == "hub" else RENDERED)


def hub_pattern(split: str) -> str:
    """The files of a split in a folder that has the hub's layout."""
    return f"*/{split}-*.parquet"


def find_files(settings: Settings, dataset: str, split: str) -> tuple[Path, ...]:
    """The files of a split in a stable order, checked against the hash that is expected, if any."""
    definition, files = settings.data.dataset(dataset), files_of(settings, dataset, split)
    if not files:
        path = Path(definition.root) / definition.files[split]
        raise DataError(f"{path}: file not found (data.datasets.{dataset}.files.{split})")
    _check_hash(f"data.datasets.{dataset}.checksums.{split}", definition, split, files)
    return tuple(files)


def files_of(settings: Settings, dataset: str, split: str) -> list[Path]:
    """The files of a split in a stable order, as far as they are there."""
    definition = settings.data.dataset(dataset)
    key = f"data.datasets.{dataset}.files.{split}"
    if split not in definition.files:
        raise ConfigError(f"{key}: no such split, expected one of {sorted(definition.files)}")
    root, name = Path(definition.root), definition.files[split]
    if (root / name).is_dir():
        return sorted((root / name).glob(hub_pattern(split)))
    if (root / name).is_file():
        return [root / name]
    if not is_pattern(name):
        return []
    if Path(name).is_absolute():
        raise ConfigError(f"{key}: {name!r} must be relative to the dataset's root")
    return sorted(path for path in root.glob(name) if path.is_file())


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
    if len(files) != 1:
        raise ConfigError(f"{key}: a hash is of one file, the split has {len(files)}")
    actual = hash_file(files[0], algorithm)
    if actual != digits:
        raise DataError(
            f"{files[0]}: is another version, or damaged: its {algorithm} is {actual}, expected"
            f" {digits} ({key})"
        )

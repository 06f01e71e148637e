"""Datasets of the hub: download a revision, check every file, link it below `root`.

The files themselves lie in the cache of huggingface_hub (`HF_HOME`), once per machine. A file
that is complete there is not downloaded again, a download that broke off goes on where it ended,
and with `HF_HUB_OFFLINE=1` only the cache is read. Every file is checked against the
repository's own hash: the SHA-256 of a large file, the git object id of a small one.
"""

import io
import re
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from vovnet.config import DatasetSettings, Settings
from vovnet.core.errors import ConfigError, DataError, one_line
from vovnet.core.files import atomic_path, read_json, sha256_file
from vovnet.core.progress import LOG_INTERVAL_S
from vovnet.data.formats import format_of
from vovnet.data.image_store import inside
from vovnet.data.raw_files import hub_pattern, raw_manifest
from vovnet.pipeline.manifest import write_manifest

_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch(settings: Settings, dataset: str) -> dict[str, Any]:
    """Download a dataset of the hub and link its files below its root; returns what it fetched.

    Nothing below the root changes unless every file is complete.
    """
    definition = settings.data.dataset(dataset)
    key = f"data.datasets.{dataset}"
    if definition.source != "hub":
        raise ConfigError(f"{key}.source: expected 'hub', got {definition.source!r}")
    patterns = {split: _patterns(name, split) for split, name in definition.files.items()}
    images = [f"{definition.image_root.strip('/')}/*"] if definition.image_root else []
    further_files = format_of(settings, dataset).further_files
    further = [name for split in patterns for name in further_files(definition, split).values()]
    allowed = sorted({*images, *further, *(name for names in patterns.values() for name in names)})
    snapshot, tree = _download(key, definition, allowed)
    for split, expected in patterns.items():
        if not _matching(tree, expected):
            raise DataError(
                f"{key}.files.{split}: no file of {definition.repo_id}@{snapshot.name} matches"
                f" {expected[0]!r}"
            )
    files = {name: _checked(key, name, snapshot, tree) for name in _matching(tree, allowed)}
    facts: dict[str, Any] = {"dataset": dataset, **_asked(definition), "commit": snapshot.name}
    facts["files"] = files
    manifest = raw_manifest(definition)
    _link(key, manifest, snapshot, files)
    write_manifest(manifest, step="fetch", settings=settings, **facts)
    return facts


def fetched(dataset: str, definition: DatasetSettings) -> dict[str, str]:
    """Repository and commit of a dataset's files, for the manifests of its splits."""
    path, asked = raw_manifest(definition), _asked(definition)
    hint = f"run `vovnet fetch --dataset {dataset}` with this configuration"
    if not path.is_file():
        raise DataError(f"{path}: not found, {hint}")
    facts = read_json(path)
    if not isinstance(facts, dict) or not asked.items() <= facts.items():
        name, revision = asked.values()
        raise DataError(f"{path}: is not of {name} at revision {revision!r}, {hint}")
    return asked | {"commit": str(facts["commit"])}


def _asked(definition: DatasetSettings) -> dict[str, str]:
    """The repository and the revision that the configuration names."""
    assert definition.repo_id is not None
    return {"repo_id": definition.repo_id, "revision": definition.revision or "main"}


def _patterns(name: str, split: str) -> list[str]:
    """What to download for a split: a file, the matches of a pattern, or a folder's files."""
    folder = PurePosixPath(name)
    return [folder.as_posix(), (folder / hub_pattern(split)).as_posix()]


def _matching(tree: dict[str, Any], patterns: list[str]) -> list[str]:
    from huggingface_hub.utils import filter_repo_objects

    return sorted(filter_repo_objects(list(tree), allow_patterns=patterns))


def _download(
    key: str, definition: DatasetSettings, allowed: list[str]
) -> tuple[Path, dict[str, Any]]:
    """The folder of the commit that the revision stands for, and the commit's files by path."""
    from huggingface_hub import HfApi, get_cached_repo_tree, is_offline_mode, snapshot_download

    name, revision = _asked(definition).values()
    try:
        if not is_offline_mode() and not _COMMIT.fullmatch(revision):
            # A branch that cannot be looked up is an error, not whatever the cache holds.
            HfApi().repo_info(name, repo_type="dataset", revision=revision)
        snapshot = snapshot_download(
            name,
            repo_type="dataset",
            revision=revision,
            allow_patterns=allowed,
            tqdm_class=_bar_class(),
        )
        commit = Path(snapshot).name
        files = get_cached_repo_tree(name, repo_type="dataset", revision=commit)
    except Exception as error:  # the client raises its own, the network's and the disk's
        raise DataError(f"{key}: {name} at revision {revision!r}: {_reason(error)}") from None
    return Path(snapshot), {file.path: file for file in files}


def _reason(error: Exception) -> str:
    from huggingface_hub import errors, is_offline_mode

    if is_offline_mode():
        return "is not complete in the cache, and HF_HUB_OFFLINE forbids a download"
    if isinstance(error, errors.GatedRepoError):
        return "is gated: accept its terms on the hub and set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such dataset, or a private one for which HF_TOKEN is not set"
    if isinstance(error, errors.RevisionNotFoundError):
        return "no such revision"
    if isinstance(error, errors.HfHubHTTPError):
        return f"the hub answered with status {error.response.status_code}"
    if "Consistency check failed" in str(error):
        return "a download broke off; fetch again, finished files are kept"
    return f"{type(error).__name__}: {one_line(error)}"


def _bar_class() -> type[Any]:
    """The client's bar on a terminal, lines in a log file."""
    from huggingface_hub.utils import tqdm

    class Lines(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            disable = bool(kwargs.pop("disable", None))
            lines = {"mininterval": LOG_INTERVAL_S, "leave": True, "file": io.StringIO()}
            super().__init__(*args, disable=disable, **(kwargs | lines))

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            print(msg or str(self), file=sys.stderr, flush=True)

    return tqdm if sys.stderr.isatty() else Lines


def _checked(key: str, name: str, snapshot: Path, tree: dict[str, Any]) -> dict[str, Any]:
    """Hash and size of a file, which must be what the repository lists.

    A broken file leaves the cache.
    """
    from huggingface_hub.utils.sha import git_hash

    inside(name, key)
    path, entry = snapshot / name, tree[name]
    sha256, size = sha256_file(path), path.stat().st_size
    large = entry.lfs is not None
    right = sha256 == entry.lfs.sha256 if large else git_hash(path.read_bytes()) == entry.blob_id
    if not right:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise DataError(
            f"{key}: {name} is not what the repository lists (expected {entry.size} bytes with its"
            " hash); the broken copy is removed from the cache, fetch again"
        )
    return {"sha256": sha256, "size": size}


def _link(key: str, manifest: Path, snapshot: Path, names: Iterable[str]) -> None:
    """Make the links beside the manifest those of a snapshot's files; others are not touched."""
    root = manifest.parent
    links = {root / name: snapshot / name for name in names}
    for link in links:
        if link.exists() and not link.is_symlink():
            raise DataError(
                f"{link}: is a file of your own where {key} puts a link; "
                "choose another root, or source 'local'"
            )
    manifest.unlink(missing_ok=True)
    for path in sorted(root.rglob("*")) if root.is_dir() else []:
        stale = path.is_symlink() and path not in links
        if stale and path.readlink().is_relative_to(snapshot.parents[1]):
            path.unlink()
    for link, path in links.items():
        with atomic_path(link, durable=False) as partial:
            partial.unlink()
            partial.symlink_to(path)

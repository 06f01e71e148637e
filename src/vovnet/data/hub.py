"""Datasets of the hub: download a revision, check every file, link it below `root`.

The files themselves lie in the cache of huggingface_hub (`HF_HOME`), once per machine. A file
that is complete there is not downloaded again, a download that broke off goes on where it ended,
and with `HF_HUB_OFFLINE=1` only the cache is read. Every file is checked against the
repository's own hash: the SHA-256 of a large file, the git object id of a small one.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vovnet.config import DatasetSettings, Settings
from vovnet.core.errors import ConfigError, DataError, one_line
from vovnet.core.files import atomic_path, read_json
from vovnet.core.progress import LOG_INTERVAL_S
from vovnet.data.formats import format_of
from vovnet.data.image_store import inside
from vovnet.data.raw_files import hub_pattern, raw_manifest
from vovnet.pipeline.manifest import write_manifest

DEFAULT_REVISION = "main"
CHUNK_BYTES = 1 << 20

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECRETS = (
    (re.compile(r"(\w+://)[^/\s@]*@"), r"\1"),  # user:password@host
    (re.compile(r"(\w+://[^\s?'\"]*)\?[^\s'\"]*"), r"\1"),  # signatures of download addresses
    (re.compile(r"((?i:bearer)\s+|\bhf_)[\w.-]+"), r"\1***"),
)


@dataclass(frozen=True)
class Fetched:
    """A file of a snapshot: its path in the repository, its path on disk, its size and hash."""

    name: str
    path: Path
    size: int
    sha256: str


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
    with _redacted_logs():
        commit, snapshot = _download(key, definition, allowed)
        tree = _tree(key, definition, commit)
    names = _matching(tree, allowed)
    for split, expected in patterns.items():
        if not _matching(tree, expected):
            raise DataError(
                f"{key}.files.{split}: no file of {definition.repo_id}@{commit} matches"
                f" {expected[0]!r}"
            )
    files = [_checked(key, name, snapshot / name, tree[name]) for name in names]
    facts: dict[str, Any] = {
        "dataset": dataset,
        "repo_id": definition.repo_id,
        "revision": definition.revision or DEFAULT_REVISION,
        "commit": commit,
        "files": {file.name: {"sha256": file.sha256, "size": file.size} for file in files},
    }
    manifest = raw_manifest(definition)
    _link(key, manifest, snapshot.parents[1], files)
    write_manifest(manifest, step="fetch", settings=settings, **facts)
    return facts


def fetched(dataset: str, definition: DatasetSettings) -> dict[str, str]:
    """Repository and commit of a dataset's files, for the manifests of its splits."""
    path = raw_manifest(definition)
    hint = f"run `vovnet fetch --dataset {dataset}` with this configuration"
    if not path.is_file():
        raise DataError(f"{path}: not found, {hint}")
    facts = read_json(path)
    asked = (definition.repo_id, definition.revision or DEFAULT_REVISION)
    if not isinstance(facts, dict) or (facts.get("repo_id"), facts.get("revision")) != asked:
        raise DataError(f"{path}: is not of {asked[0]} at revision {asked[1]!r}, {hint}")
    return {name: str(facts[name]) for name in ("repo_id", "revision", "commit")}


def redact(text: str) -> str:
    """The text without passwords, tokens and the queries of addresses, which may be signed."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


# ---- the download ----------------------------------------------------------------------


def _patterns(name: str, split: str) -> list[str]:
    """What to download for a split: a file, the matches of a pattern, or a folder's files."""
    folder = PurePosixPath(name)
    return [folder.as_posix(), (folder / hub_pattern(split)).as_posix()]


def _download(key: str, definition: DatasetSettings, allowed: list[str]) -> tuple[str, Path]:
    """The commit that the revision stands for, and the folder of its files."""
    from huggingface_hub import HfApi, is_offline_mode, snapshot_download

    assert definition.repo_id is not None
    revision = definition.revision or DEFAULT_REVISION
    try:
        if not is_offline_mode() and not _COMMIT.fullmatch(revision):
            # A branch that cannot be looked up is an error, not whatever the cache holds.
            HfApi().repo_info(definition.repo_id, repo_type="dataset", revision=revision)
        snapshot = snapshot_download(
            definition.repo_id,
            repo_type="dataset",
            revision=revision,
            allow_patterns=allowed,
            tqdm_class=_bar_class(),
        )
    except Exception as error:  # the client raises its own, the network's and the disk's
        raise _failure(key, definition, error) from None
    return Path(snapshot).name, Path(snapshot)


def _tree(key: str, definition: DatasetSettings, commit: str) -> dict[str, Any]:
    """The files of a commit by path, from the list that the download left in the cache."""
    from huggingface_hub import get_cached_repo_tree

    assert definition.repo_id is not None
    try:
        files = get_cached_repo_tree(definition.repo_id, repo_type="dataset", revision=commit)
    except Exception as error:
        raise _failure(key, definition, error) from None
    return {file.path: file for file in files}


def _matching(tree: dict[str, Any], patterns: list[str]) -> list[str]:
    from huggingface_hub.utils import filter_repo_objects

    return sorted(filter_repo_objects(list(tree), allow_patterns=patterns))


def _failure(key: str, definition: DatasetSettings, error: Exception) -> DataError:
    from huggingface_hub import errors, is_offline_mode

    revision = definition.revision or DEFAULT_REVISION
    if is_offline_mode():
        reason = "is not complete in the cache, and HF_HUB_OFFLINE forbids a download"
    elif isinstance(error, errors.GatedRepoError):
        reason = "is gated: accept its terms on the hub and set HF_TOKEN"
    elif isinstance(error, errors.RepositoryNotFoundError):
        reason = "no such dataset, or a private one for which HF_TOKEN is not set"
    elif isinstance(error, errors.RevisionNotFoundError):
        reason = "no such revision"
    elif isinstance(error, errors.HfHubHTTPError):
        reason = f"the hub answered with status {error.response.status_code}"
    elif "Consistency check failed" in str(error):
        reason = "a download broke off; fetch again, finished files are kept"
    else:
        reason = f"{type(error).__name__}: {redact(one_line(error))}"
    return DataError(f"{key}: {definition.repo_id} at revision {revision!r}: {reason}")


# ---- checks and links ------------------------------------------------------------------


def _checked(key: str, name: str, path: Path, entry: Any) -> Fetched:
    """Compare a file with the hash in the repository's list; a broken file leaves the cache."""
    inside(name, key)
    sha256 = hashlib.sha256()
    git_id = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha256.update(chunk)
            git_id.update(chunk)
    right = (
        sha256.hexdigest() == entry.lfs.sha256
        if entry.lfs is not None
        else git_id.hexdigest() == entry.blob_id
    )
    if not right:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise DataError(
            f"{key}: {name} is not what the repository lists (expected"
            f" {entry.lfs.size if entry.lfs else entry.size} bytes with its hash); the broken"
            " copy is removed from the cache, fetch again"
        )
    return Fetched(name, path, path.stat().st_size, sha256.hexdigest())


def _link(key: str, manifest: Path, repository: Path, files: list[Fetched]) -> None:
    """Make the links beside the manifest those of `files`; other files are not touched."""
    root = manifest.parent
    for file in files:
        target = root / file.name
        if target.exists() and not target.is_symlink():
            raise DataError(
                f"{target}: is a file of your own where {key} puts a link; "
                "choose another root, or source 'local'"
            )
    manifest.unlink(missing_ok=True)
    expected = {root / file.name for file in files}
    for path in sorted(root.rglob("*")) if root.is_dir() else []:
        stale = path.is_symlink() and path not in expected
        if stale and path.readlink().is_relative_to(repository):
            path.unlink()
    for file in files:
        with atomic_path(root / file.name) as partial:
            partial.symlink_to(file.path)


# ---- progress and logs -----------------------------------------------------------------


def _bar_class() -> type[Any]:
    """The client's bar on a terminal, lines in a log file."""
    from huggingface_hub.utils import tqdm

    if sys.stderr.isatty():
        return tqdm

    class Lines(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            disable = bool(kwargs.pop("disable", None))
            lines = {"mininterval": LOG_INTERVAL_S, "leave": True, "file": io.StringIO()}
            super().__init__(*args, disable=disable, **(kwargs | lines))

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            print(msg or str(self), file=sys.stderr, flush=True)

    return Lines


@contextmanager
def _redacted_logs() -> Iterator[None]:
    """Keep secrets out of the client's log messages, which show addresses."""
    logger = logging.getLogger("huggingface_hub")
    import huggingface_hub.utils.logging  # noqa: F401  (attaches the handlers)

    handlers = [*logger.handlers, *logging.getLogger().handlers]
    for handler in handlers:
        handler.addFilter(_redact_record)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_redact_record)


def _redact_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = redact(record.getMessage()), ()
    return True

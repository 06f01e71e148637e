"""Files against what was recorded of them, so that a damaged one is never read as if it were whole.

A manifest has the SHA-256 of each of its step's outputs. Who reads an output compares.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from vovnet.core.errors import DataError
from vovnet.core.files import read_json, sha256_file


def content_hash(path: Path) -> str:
    """SHA-256 of a file, which is read once in a process for as long as it stays as it is."""
    status = path.stat()
    return _hash(path, status.st_ino, status.st_size, status.st_mtime_ns)


@cache
def _hash(path: Path, *state: int) -> str:
    return sha256_file(path)


def check_recorded(path: Path, manifest: Path) -> None:
    """Refuse an output of a manifest that is not as it was written.

    Nothing is known of a file that is gone, or of which no manifest tells.
    """
    for name, digest in recorded(manifest):
        if name == path.name and path.exists() and content_hash(path) != digest:
            raise DataError(damage(path, manifest))


def damage(path: Path, manifest: Path, rule: str | None = None) -> str:
    """What to say of an output that is not as it was written.

    Removing the manifest has it made again, or calling its `rule` where Snakemake does not look
    for the manifest.
    """
    remedy = f"remove {manifest}, and call again to have it made again"
    if rule is not None:
        remedy = f"call `snakemake --forcerun {rule}` to have it made again"
    return f"{path}: damaged, its content is not what {manifest.name} says: {remedy}"


def recorded(manifest: Path) -> Iterator[tuple[str, str]]:
    """(name, SHA-256) of the outputs of a manifest; none where there is no manifest."""
    if not manifest.exists():
        return
    content: Any = read_json(manifest)
    outputs = content.get("outputs") if isinstance(content, dict) else None
    for facts in outputs.values() if isinstance(outputs, dict) else ():
        if isinstance(facts, dict) and {"path", "sha256"} <= facts.keys():
            yield Path(str(facts["path"])).name, str(facts["sha256"])

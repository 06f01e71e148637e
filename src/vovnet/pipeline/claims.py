"""The folders of long jobs: each holds what one recipe made, and no recipe's work is removed.

Snakemake removes the outputs that a rule declares before it runs the rule again, so that the
manifest says nothing about a folder which a job finds. What the folder was made from stands in
`key.json`, and a copy of the manifest in `complete.json`; no rule declares them.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import Any

from vovnet.core.errors import DataError
from vovnet.core.files import read_json, sha256_json, write_bytes, write_json
from vovnet.core.recorded import content_hash, recorded
from vovnet.pipeline.keys import DIGITS

KEY, MANIFEST, COMPLETE = "key.json", "manifest.json", "complete.json"
LOG_SUFFIX = ".jsonl"
AT_WORK: list[Path] = []
"""The folders that this process holds, the one that it works in last."""

OF_EXPERIMENTS = ("summary.json", "live.json")


@contextmanager
def claimed_folder(folder: Path, key: Mapping[str, str]) -> Iterator[bool]:
    """Hold a job's folder for the recipe whose hashes are `key`; yields whether it is complete.

    What another recipe made there is set aside as `<folder>-<start of its key's hash>`, and
    what this recipe made there once is taken up again, whether complete or interrupted. Another
    process at work there is waited for, on whatever machine it runs: a killed Snakemake leaves
    its jobs, and the next call starts the same ones again.
    """
    with held_folder(folder, KEY):
        _bring(folder, key)
        manifest, complete = folder / MANIFEST, folder / COMPLETE
        if complete.exists() and (lost := _lost_output(folder)):
            print(f"{folder}: {lost} and is made again", file=sys.stderr)
            for path in (complete, manifest):
                path.unlink(missing_ok=True)
        if complete.exists() and not manifest.exists():
            write_bytes(manifest, complete.read_bytes())
        was_complete = complete.exists()
        yield was_complete
        if manifest.exists() and not was_complete:
            write_bytes(complete, manifest.read_bytes())


@contextmanager
def held_folder(folder: Path, note: str) -> Iterator[None]:
    """Hold a job's folder, in which nobody else works meanwhile.

    A job that fails before it has left anything there but its `note` leaves nothing at all.
    """
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f".{folder.name}.lock")
    with FileLock(lock):
        AT_WORK.append(folder)
        try:
            yield
        except BaseException:
            if folder.is_dir() and not _holds_work(folder, note):
                shutil.rmtree(folder)
                lock.unlink(missing_ok=True)  # whoever waits for it takes a new one
            raise
        finally:
            AT_WORK.remove(folder)


def _lost_output(folder: Path) -> str | None:
    """What a complete folder no longer has as it was written; None where all is there.

    A log that is gone cannot be made again without the work that it tells of, and is not missed;
    lines of a damaged one are.
    """
    try:
        outputs = list(recorded(folder / COMPLETE))
    except DataError:
        return f"{COMPLETE} is damaged"
    for name, digest in outputs:
        path = folder / name
        if path.exists():
            if content_hash(path) != digest:
                return f"{name} is damaged"
        elif path.suffix != LOG_SUFFIX:
            return f"{name} is gone"
    return None


def is_complete(folder: Path) -> bool:
    """Whether a folder that another process holds was complete when it was claimed."""
    return (folder / COMPLETE).exists()


def recipe_folder(folder: Path, key: Mapping[str, str]) -> Path:
    """Where a recipe's work lies, or may be put without moving that of another one."""
    free = not folder.exists() or not _holds_work(folder)
    return folder if free or recorded_key(folder) == dict(key) else _aside(folder, key)


def recorded_key(folder: Path) -> dict[str, str] | None:
    """From what a folder was made, None where it does not say so."""
    for name in (COMPLETE, KEY):  # one tells the key where the other is damaged
        with suppress(DataError):
            value = read_json(folder / name) if (folder / name).exists() else None
            if name == COMPLETE and isinstance(value, dict):
                value = value.get("key")
            if isinstance(value, dict):
                return value
    return None


def made_by_another(outputs: Sequence[str], config: str, code: str | None) -> bool:
    """Whether the outputs of a step say that another recipe than this one made them.

    `config` is the path of the step's configuration, and `code` the digest of its code, which
    is not compared where it is None. Outputs that say nothing are nobody else's; one that cannot
    be read is damaged, and is made again.
    """
    try:
        keys = [key for output in outputs if (key := _key_of(Path(output))) is not None]
    except DataError:
        return True
    for key in keys:
        if not Path(config).stem.endswith("-" + key["config"][:DIGITS]):
            return True
        if code is not None and key.get("code", code) != code:
            return True
    return False


def _key_of(output: Path) -> dict[str, str] | None:
    """The hashes of settings and code with which a step stored an output, None where it did not.

    Tables of an observation have codes of their own, by the plug-ins of their views: of these
    only the settings are told.
    """
    if not output.name.endswith((MANIFEST, *OF_EXPERIMENTS)):
        return None
    value: Any = read_json(output) if output.exists() else None
    key = value.get("key") if isinstance(value, dict) else None
    if not isinstance(key, dict) or "config" not in key:
        return None
    of_one_key = output.name in OF_EXPERIMENTS or output.with_name(KEY).exists()
    return key if of_one_key else {"config": key["config"]}


def _bring(folder: Path, key: Mapping[str, str]) -> None:
    """Make `folder` that of the recipe `key`."""
    recorded = recorded_key(folder)
    if recorded == dict(key):
        return
    if folder.exists() and _holds_work(folder):
        aside = _free(_aside(folder, recorded))
        folder.rename(aside)
        print(f"{folder}: set aside what another recipe made, as {aside.name}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    earlier = _aside(folder, key)
    if recorded_key(earlier) == dict(key):
        earlier.rename(folder)
        print(f"{folder}: took up again what this recipe made, {earlier.name}", file=sys.stderr)
    else:
        write_json(folder / KEY, dict(key))


def _aside(folder: Path, key: Mapping[str, str] | None) -> Path:
    digest = "unknown" if key is None else sha256_json(dict(key))[:8]
    return folder.with_name(f"{folder.name}-{digest}")


def _free(path: Path) -> Path:
    """`path`, or the first of `<path>-2`, `<path>-3` and so on that does not exist."""
    names = chain([path.name], (f"{path.name}-{number}" for number in count(2)))
    return next(other for name in names if not (other := path.with_name(name)).exists())


def _holds_work(folder: Path, note: str = KEY) -> bool:
    """Whether there is anything in a folder beside the key of an interrupted job."""
    return any(path.name != note for path in folder.iterdir())

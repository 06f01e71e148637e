"""The samples that the leakage gate leaves out of a mix, as a JSONL that says why of each."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vovnet.config import SplitRef
from vovnet.config.data import DataSettings
from vovnet.core.errors import DataError
from vovnet.core.files import read_jsonl, read_object, writing
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.recorded import check_recorded
from vovnet.data.samples import SampleFile

Mix = Literal["train", "router_fit"]


class LeftOut(BaseModel):
    """A sample of `mix`: the row of its prepared split, from 0, and what it shares with which set.

    `set` is an evaluation set or `router_fit`, and `shared_with` the first of its samples that has
    the same `kind` of key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mix: Mix
    dataset: str
    split: str
    row: int
    id: str
    set: str
    kind: str
    shared_with: str


def write_left_out(path: Path, samples: Iterable[LeftOut]) -> None:
    """Write the list atomically, also where it is empty."""
    with writing(path) as file:
        for sample in samples:
            file.write(sample.model_dump_json() + "\n")


def check_left_out(data: DataSettings, layout: Layout, mix: str) -> None:
    """Refuse a list that is not as it was written, or that was made for other settings.

    The configuration of a single job names a part of what the gate has compared, and leaves
    `fail_on` out.
    """
    path, report_path = layout.left_out, layout.leakage_report
    for file in (path, report_path):
        if not file.exists():
            raise DataError(f"{file}: file not found; `vovnet leakage` writes it")
    check_recorded(path, report_path)
    report = read_object(report_path)
    held_out = mix == "train" and data.router_fit_held_out
    changed = [
        f"data.{name}"
        for name in dict.fromkeys([mix, ROUTER_FIT] if held_out else [mix])
        if not all(_is_covered(part, report.get(name, [])) for part in getattr(data, name))
    ]
    if held_out and not report.get("router_fit_held_out"):
        changed.append("data.router_fit_held_out")
    asked = data.leakage.model_fields_set >= {"on_hit", "fail_on"}
    if asked and set(data.leakage.fail_on) != set(report.get("fail_on", [])):
        changed.append("data.leakage.fail_on")
    if changed:
        raise DataError(
            f"{path}: made for another {changed[0]}, as {report_path.name} says; run"
            " `vovnet leakage` again"
        )


def _is_covered(part: SplitRef, compared: Iterable[Mapping[str, Any]]) -> bool:
    """Whether all samples of a part were compared: a lower cap takes a part of a higher one's."""
    for other in compared:
        limit = other["max_samples"]
        within = None not in (limit, part.max_samples) and part.max_samples <= limit
        if (other["dataset"], other["split"]) == (part.dataset, part.split) and (
            limit is None or (within and other.get("draw_seed") == part.draw_seed)
        ):
            return True
    return False


def read_left_out(path: Path, mix: str) -> dict[tuple[str, str], dict[int, str]]:
    """Row -> id of what is left out of a mix, by dataset and split."""
    found: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for line, value in read_jsonl(path):
        try:
            sample = LeftOut.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"])) or "(line)"
            raise DataError(f"{path}, line {line}, {key}: {first['msg']}") from None
        if sample.mix == mix:
            found[sample.dataset, sample.split][sample.row] = sample.id
    return found


def kept_rows(
    file: SampleFile, rows: Sequence[int], left_out: Mapping[int, str], path: Path
) -> list[int]:
    """The rows that are not left out; those that are must be the samples that `path` names."""
    for row in rows:
        if row in left_out and file.sample(row).id != left_out[row]:
            raise DataError(
                f"{path}: expected {left_out[row]!r} in row {row} of {file.path}, got"
                f" {file.sample(row).id!r}; `vovnet leakage` writes it anew"
            )
    return [row for row in rows if row not in left_out]

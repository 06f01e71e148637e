"""The named sets that the later steps read: evaluation sets, the router set, the training mix."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vovnet.config import EvalSet, Settings, SplitRef
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.recorded import check_recorded
from vovnet.core.records import Sample
from vovnet.data.left_out import check_left_out, kept_rows, read_left_out
from vovnet.data.samples import SampleFile, SampleSet


def load_set(settings: Settings, layout: Layout, name: str) -> SampleSet:
    """An evaluation set, or `router_fit`: all its parts with ids `<dataset>/<split>/<id>`.

    `quick` caps an evaluation set, and every part of `router_fit`, so that no dataset of
    the router set is lost. What the leakage gate leaves out is missing, as in the training mix.
    """
    if name == ROUTER_FIT:
        return _mix(settings, layout, "router_fit", settings.quick)
    if name not in settings.data.eval_sets:
        names = [*settings.data.eval_sets, ROUTER_FIT]
        raise ConfigError(f"data.eval_sets: no set named {name!r}, expected one of {names}")
    eval_set = settings.data.eval_sets[name]
    file = prepared_split(layout, eval_set.dataset, eval_set.split)
    rows = list(_first_questions(file, eval_set, settings.quick))
    if not rows:
        raise DataError(
            f"{file.path}: no sample is left of set {name!r} (passes {eval_set.passes!r})"
        )
    return SampleSet.of([(file, rows)])


def load_train(settings: Settings, layout: Layout) -> SampleSet:
    """The training mix, part after part, with ids `<dataset>/<split>/<id>`."""
    return _mix(settings, layout, "train", None)


def prepared_split(layout: Layout, dataset: str, split: str) -> SampleFile:
    """The samples of a split, which must be those that its manifest tells of."""
    path = layout.samples(dataset, split)
    check_recorded(path, layout.data_manifest(dataset, split))
    return SampleFile(path)


def image_paths(settings: Settings, layout: Layout, sample: Sample) -> list[Path]:
    """The image files of a sample, in order."""
    assert sample.dataset in settings.data.datasets, sample.dataset
    return [layout.data(sample.dataset) / image.path for image in sample.images]


def stored_part(layout: Layout, part: SplitRef) -> SampleSet:
    """The samples that `part` takes of a prepared split, as they are stored."""
    return SampleSet.of([_rows(layout, part)])


def qualified(sample: Sample) -> Sample:
    """The sample with an id, group and conversation that no other dataset or split has."""
    prefix = f"{sample.dataset}/{sample.split}/"
    names = {"group": sample.group, "conversation": sample.conversation}
    unique = {key: prefix + name for key, name in names.items() if name}
    return sample.model_copy(update={"id": prefix + sample.id} | unique)


def _mix(settings: Settings, layout: Layout, name: str, cap: int | None) -> SampleSet:
    parts: Sequence[SplitRef] = getattr(settings.data, name)
    if not parts:
        raise ConfigError(f"data.{name}: expected at least one part, it is empty")
    chosen = [_rows(layout, part, cap) for part in parts]
    drops = settings.data.leakage.on_hit == "drop"
    if drops or (name == "train" and settings.data.router_fit_held_out):
        path = layout.left_out
        check_left_out(settings.data, layout, name)
        left_out = read_left_out(path, name)
        chosen = [
            (file, kept_rows(file, rows, left_out.get((part.dataset, part.split), {}), path))
            for part, (file, rows) in zip(parts, chosen, strict=True)
        ]
        if not any(len(rows) for _, rows in chosen):
            raise DataError(f"{path}: leaves no sample of data.{name}")
    return SampleSet.of(chosen, qualified)


def _rows(
    layout: Layout, part: SplitRef, cap: int | None = None
) -> tuple[SampleFile, Sequence[int]]:
    """The rows of a part: the first ones, or some that are drawn, in file order."""
    file = prepared_split(layout, part.dataset, part.split)
    count = _smallest(len(file), part.max_samples, cap)
    if part.draw_seed is None or count == len(file):
        return file, range(count)
    places = (_drawn(part.draw_seed, file.unit(row)) for row in range(len(file)))
    order = np.argsort(np.fromiter(places, "S32", len(file)), kind="stable")
    return file, np.sort(order[:count]).tolist()


def _drawn(seed: int | None, unit: str) -> bytes:
    """The place of a unit in the order of a draw: a lower cap takes a part of a higher one's."""
    return b"" if seed is None else hashlib.sha256(f"{seed} {unit}".encode()).digest()


def _first_questions(file: SampleFile, eval_set: EvalSet, quick: int | None) -> Iterator[int]:
    """Rows of the first questions, in file order or as drawn; circular replicas are one."""
    cap = _smallest(len(file), eval_set.max_samples, quick)
    questions = {}
    for row in range(len(file)):
        question, pass_index = file.question(row)
        if eval_set.passes == "all" or pass_index == 0:
            questions[row] = question
    order = sorted(
        dict.fromkeys(questions.values()), key=lambda name: _drawn(eval_set.draw_seed, name)
    )
    kept = set(order[:cap])
    yield from (row for row, question in questions.items() if question in kept)


def _smallest(*caps: int | None) -> int:
    return min(cap for cap in caps if cap is not None)

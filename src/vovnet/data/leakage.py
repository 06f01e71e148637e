"""The leakage gate: what the training mix and `router_fit` share with the evaluation sets.

The gate compares normalised questions together with their choices (in any order), images by
content and by look, pairs of a question and an image, and ids within a dataset (circular
replicas count as one id). It compares whole evaluation sets, whatever their caps are. Where
`leakage.on_hit` or `router_fit_held_out` asks for it, the gate lists what is left out of the mixes.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from vovnet.config import Settings, SplitRef
from vovnet.core.arrays import Ints
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import sha256_file, write_json
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.records import Sample
from vovnet.data.format_prompts import without_format
from vovnet.data.left_out import LeftOut, Mix, write_left_out
from vovnet.data.perceptual_hash import NearHashes
from vovnet.data.sets import stored_part

KINDS = ("question", "image", "near_image", "id", "question_and_image")

HELD_OUT = ("id", "image", "near_image")
"""What a training sample must not share with `router_fit` where that is held out."""

MAX_EXAMPLES = 10

_MARK = re.compile(r"[^\w\s]|_")

Keys = dict[str, list[str]]
"""The keys of a sample, by kind: two samples share what they have equal keys of."""

Entry = tuple[str, Keys]
"""A sample by its reference, and its keys."""

Owners = dict[str, dict[str, str]]
"""kind -> key of an evaluation sample -> the first training sample that has it, or ""."""


class Index:
    """The keys of some sets: which sample of which set has a key, looked up by kind."""

    def __init__(self, sets: Mapping[str, Iterable[Entry]], kinds: Sequence[str]) -> None:
        self.kinds = kinds
        self._owners: dict[tuple[str, str], tuple[str, str]] = {}
        for name, entries in sets.items():
            for reference, keys in entries:
                for kind in kinds:
                    for key in keys[kind]:
                        self._owners.setdefault((kind, key), (name, reference))
        self._near = NearHashes(key for kind, key in self._owners if kind == "near_image")

    def hit(self, keys: Keys) -> tuple[str, str, str] | None:
        """(kind, set, reference) of the first sample that shares a key with this one."""
        for kind in self.kinds:
            shared = keys[kind]
            if kind == "near_image":
                shared = [near for key in shared for near in self._near.near(key)]
            for key in shared:
                if (kind, key) in self._owners:
                    return kind, *self._owners[kind, key]
        return None


Gates = Mapping[Mix, list[Index]]
"""What the samples of a mix are looked up in: one that is found is left out."""


def check_leakage(settings: Settings, layout: Layout) -> dict[str, Any]:
    """Write the report and return it; a hit of a kind in `leakage.fail_on` is a DataError.

    With `on_hit: drop` samples with such a hit are left out instead, and not counted as shared;
    the list of them is written before the report. The report of a failed check is called
    `leakage.failed.json`, so that the file for which training waits does not exist.
    """
    sets = {}
    if not settings.data.eval_sets:
        raise ConfigError("data.eval_sets: none, expected what to compare with data.train")
    for name, eval_set in settings.data.eval_sets.items():
        samples = stored_part(layout, SplitRef(dataset=eval_set.dataset, split=eval_set.split))
        sets[name] = [(_reference(sample), sample_keys(sample)) for sample in samples]
    data, fail_on = settings.data, list(settings.data.leakage.fail_on)
    parts: dict[Mix, list[SplitRef]] = {
        "train": _distinct_parts(data.train),
        "router_fit": _distinct_parts(data.router_fit),
    }
    owners: Owners = {kind: {} for kind in KINDS}
    for entries in sets.values():
        for _, keys in entries:
            for kind in KINDS:
                owners[kind].update(dict.fromkeys(keys[kind], ""))
    numbers, left_out = _search(owners, layout, parts, _gates(settings, layout, sets))
    report: dict[str, Any] = {
        "fail_on": fail_on,
        **{mix: [part.model_dump() for part in parts[mix]] for mix in parts},
        **{f"num_{mix}_samples": number for mix, number in numbers.items()},
        "sets": {name: _compare(entries, owners) for name, entries in sets.items()},
        **({"left_out": _counts(left_out)} if data.leaves_out else {}),
        **({"router_fit_held_out": True} if data.router_fit_held_out else {}),
    }
    failed = layout.leakage_report.with_name("leakage.failed.json")
    hit = _first_hit(report["sets"], fail_on)
    stale, current = (failed, layout.leakage_report)[:: -1 if hit else 1]
    for path in (stale, layout.left_out):
        path.unlink(missing_ok=True)
    if data.leaves_out and not hit:
        write_left_out(layout.left_out, left_out)
        written = {"path": str(layout.left_out), "sha256": sha256_file(layout.left_out)}
        report["outputs"] = {"left_out": written}
    write_json(current, report)
    if hit:
        raise DataError(f"{hit}; full report: {failed}")
    return report


def normalise(text: str) -> str:
    """The text in lower case, where each run of white space and punctuation is one space.

    Symbols such as + or $ stay, because they change what is asked; so does a text of nothing but
    punctuation.
    """
    text = unicodedata.normalize("NFKC", text).casefold().strip()
    return " ".join(_MARK.sub(_fold, text).split()) or text


def _fold(mark: re.Match[str]) -> str:
    return " " if unicodedata.category(mark[0]).startswith("P") else mark[0]


def sample_keys(sample: Sample) -> Keys:
    """The keys of a sample for every kind; how to answer is no part of a question."""
    choices = sorted(normalise(choice) for choice in sample.choices.values())
    question = " | ".join([normalise(without_format(sample.question)[0]), *choices])
    images = [image.sha256 for image in sample.images]
    return {
        "question": [question],
        "image": images,
        "near_image": [image.perceptual for image in sample.images if image.perceptual],
        "id": [f"{sample.dataset}/{sample.group or sample.id}"],
        "question_and_image": [f"{question} @ {image}" for image in images],
    }


def _distinct_parts(parts: Iterable[SplitRef]) -> list[SplitRef]:
    """Each split once per way to draw from it, with the largest of its caps (`None` is none)."""
    largest: dict[tuple[str, str, int | None], SplitRef] = {}
    for part in parts:
        drawn_from = part.dataset, part.split, part.draw_seed
        other = largest.setdefault(drawn_from, part)
        if (part.max_samples or math.inf) > (other.max_samples or math.inf):
            largest[drawn_from] = part
    return list(largest.values())


def _search(
    owners: Owners, layout: Layout, parts: Mapping[Mix, list[SplitRef]], gates: Gates
) -> tuple[dict[Mix, int], list[LeftOut]]:
    """Enter the first sample of every key that is not left out.

    Returns how many samples each mix had before, and those that its gates leave out of it.
    """
    numbers: dict[Mix, int] = dict.fromkeys(parts, 0)
    left_out = []
    near = NearHashes(owners["near_image"])
    known: dict[tuple[Mix, str, str], Ints] = {}
    for mix, part in ((mix, part) for mix, chosen in parts.items() for part in chosen):
        samples, place = stored_part(layout, part), (mix, part.dataset, part.split)
        # Another part of the split, which was drawn in another way, may have had them.
        earlier = known.get(place, np.array([], dtype=np.int64))
        fresh_N = ~np.isin(samples.rows_N, earlier)
        known[place] = np.union1d(earlier, samples.rows_N)
        numbers[mix] += int(fresh_N.sum())
        rows = zip(fresh_N.tolist(), samples.rows_N.tolist(), samples, strict=True)
        for row, sample in ((row, sample) for fresh, row, sample in rows if fresh):
            keys = sample_keys(sample)
            hit = next(filter(None, (gate.hit(keys) for gate in gates[mix])), None)
            if hit is None:
                _enter(owners, near, keys, _reference(sample))
                continue
            kind, name, reference = hit
            found = {"id": sample.id, "kind": kind, "set": name, "shared_with": reference}
            where = {"mix": mix, "dataset": part.dataset, "split": part.split, "row": row}
            left_out.append(LeftOut.model_validate(where | found))
    return numbers, left_out


def _enter(owners: Owners, near: NearHashes, keys_by_kind: Keys, reference: str) -> None:
    """Make a sample the owner of those of its keys that have none yet."""
    looks = keys_by_kind["near_image"]
    shared = keys_by_kind | {"near_image": [key for look in looks for key in near.near(look)]}
    for kind, keys in shared.items():
        for key in keys:
            if owners[kind].get(key) == "":
                owners[kind][key] = reference


def _gates(settings: Settings, layout: Layout, sets: Mapping[str, list[Entry]]) -> Gates:
    """By mix, what its samples must not share if they are to stay in it."""
    data = settings.data
    drops = [Index(sets, data.leakage.fail_on)] if data.leakage.on_hit == "drop" else []
    fitted = []
    if data.router_fit_held_out:
        samples = (sample for part in data.router_fit for sample in stored_part(layout, part))
        entries = [(_reference(sample), sample_keys(sample)) for sample in samples]
        fitted = [Index({ROUTER_FIT: entries}, HELD_OUT)]
    return {"train": [*drops, *fitted], "router_fit": drops}


def _counts(left_out: Iterable[LeftOut]) -> dict[str, dict[str, dict[str, int]]]:
    """mix -> set -> kind -> how many samples are left out for it."""
    counts: dict[str, dict[str, dict[str, int]]] = {"train": {}, "router_fit": {}}
    for sample in left_out:
        kinds = counts[sample.mix].setdefault(sample.set, {})
        kinds[sample.kind] = kinds.get(sample.kind, 0) + 1
    return counts


def _compare(entries: list[tuple[str, Keys]], owners: Owners) -> dict[str, Any]:
    """Per kind: how many evaluation samples the training mix shares, and the first of them."""
    counts: dict[str, Any] = {"num_samples": len(entries)}
    for kind in KINDS:
        hits = []
        for reference, keys in entries:
            shared = next((key for key in keys[kind] if owners[kind][key]), None)
            if shared is not None:
                hits.append({"eval": reference, "train": owners[kind][shared], "shared": shared})
        counts[kind] = {"count": len(hits), "examples": hits[:MAX_EXAMPLES]}
    return counts


def _first_hit(sets: dict[str, Any], fail_on: Sequence[str]) -> str | None:
    for name, kind in product(sets, fail_on):
        for first in sets[name][kind]["examples"][:1]:
            return (
                f"leakage: evaluation set {name!r} shares {kind} with the training mix,"
                f" {sets[name][kind]['count']} of {sets[name]['num_samples']} samples,"
                f" first {first['eval']} = {first['train']}"
            )
    return None


def _reference(sample: Sample) -> str:
    return f"{sample.dataset}/{sample.split}/{sample.id}"

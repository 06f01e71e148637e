"""The leakage gate: what the training mix shares with the evaluation sets.

The gate compares normalised questions together with their choices (in any order), images by
content and by look, pairs of a question and an image, and ids within a dataset (circular
replicas count as one id). It compares whole evaluation sets, whatever their caps are.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from vovnet.config import Settings, SplitRef
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import write_json
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.perceptual_hash import NearHashes
from vovnet.data.samples import read_samples
from vovnet.data.sets import stored_part

KINDS = ("question", "image", "near_image", "id", "question_and_image")
MAX_EXAMPLES = 10

_MARK = re.compile(r"[^\w\s]|_")

Keys = dict[str, list[str]]
"""The keys of a sample, by kind: two samples share what they have equal keys of."""

Owners = dict[str, dict[str, str]]
"""kind -> key of an evaluation sample -> the first training sample that has it, or ""."""


def check_leakage(settings: Settings, layout: Layout) -> dict[str, Any]:
    """Write the report and return it; a hit of a kind in `leakage.fail_on` is a DataError.

    The report of a failed check is called `leakage.failed.json`, so that the file for which
    training waits does not exist.
    """
    sets = {}
    if not settings.data.eval_sets:
        raise ConfigError("data.eval_sets: none, expected what to compare with data.train")
    for name, eval_set in settings.data.eval_sets.items():
        samples = read_samples(layout.samples(eval_set.dataset, eval_set.split))
        sets[name] = [(_reference(sample), sample_keys(sample)) for sample in samples]
    mix = _distinct_parts([*settings.data.train, *settings.data.router_fit])
    owners: Owners = {kind: {} for kind in KINDS}
    for entries in sets.values():
        for _, keys in entries:
            for kind in KINDS:
                owners[kind].update(dict.fromkeys(keys[kind], ""))
    num_train = _search(owners, (sample for part in mix for sample in stored_part(layout, part)))
    fail_on = list(settings.data.leakage.fail_on)
    report: dict[str, Any] = {
        "fail_on": fail_on,
        "train": [part.model_dump() for part in mix],
        "num_train_samples": num_train,
        "sets": {name: _compare(entries, owners) for name, entries in sets.items()},
    }
    failed = layout.leakage_report.with_name("leakage.failed.json")
    hit = _first_hit(report["sets"], fail_on)
    stale, current = (failed, layout.leakage_report)[:: -1 if hit else 1]
    stale.unlink(missing_ok=True)
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
    """The keys of a sample for every kind."""
    choices = sorted(normalise(choice) for choice in sample.choices.values())
    question = " | ".join([normalise(sample.question), *choices])
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


def _search(owners: Owners, train: Iterable[Sample]) -> int:
    """Enter the first training sample of every key; returns the number of training samples."""
    count, near = 0, NearHashes(owners["near_image"])
    for sample in train:
        count += 1
        keys_by_kind = sample_keys(sample)
        looks = keys_by_kind["near_image"]
        keys_by_kind["near_image"] = [key for look in looks for key in near.near(look)]
        for kind, keys in keys_by_kind.items():
            for key in keys:
                if owners[kind].get(key) == "":
                    owners[kind][key] = _reference(sample)
    return count


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

"""MMBench has no training split: its dev file can be divided into one and the rest.

Circular replicas of a question never part, nor do questions about the same image, so that
what is trained on tells nothing about what is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vovnet.config import DataSettings, mmbench_part
from vovnet.core.files import sha256_bytes
from vovnet.core.records import Sample


@dataclass(frozen=True)
class Division:
    """Which part (`train` or `eval`) of the split `base` is wanted, and how it is drawn."""

    base: str
    part: str
    fraction: float
    seed: int

    def select(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples of the part, in their order."""
        known = list(samples)
        trained = train_groups(known, self.fraction, self.seed)
        return (item for item in known if (item.group in trained) == (self.part == "train"))


def division_of(data: DataSettings, dataset: str, split: str) -> Division | None:
    """The division that a split's name asks for; None for a split of the file itself."""
    named = mmbench_part(data.dataset(dataset), split)
    if named is None:
        return None
    return Division(*named, data.mmbench_train_fraction, data.mmbench_train_seed)


def train_groups(samples: Iterable[Sample], fraction: float, seed: int) -> set[str]:
    """The groups to train on: clusters in an order drawn by hash, up to `fraction` of all groups.

    A cluster that would exceed the fraction is passed over, so the evaluation part never gets
    less than its share.
    """
    clusters = _clusters(samples)
    limit = fraction * sum(map(len, clusters))
    chosen: set[str] = set()
    for cluster in sorted(clusters, key=lambda names: sha256_bytes(f"{seed}/{names[0]}".encode())):
        if len(chosen) + len(cluster) <= limit:
            chosen.update(cluster)
    return chosen


def _clusters(samples: Iterable[Sample]) -> list[list[str]]:
    """Groups that are tied by common images, directly or through others, each sorted by name."""
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        parents.setdefault(name, name)
        while parents[name] != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    groups = set()
    for sample in samples:
        group = f"group {sample.group}"
        groups.add(group)
        for image in sample.images:
            parents[root(f"image {image.sha256}")] = root(group)
    clusters: dict[str, list[str]] = {}
    for group in sorted(groups):
        clusters.setdefault(root(group), []).append(group.removeprefix("group "))
    return list(clusters.values())

"""The division of an MMBench file into a training part and an evaluation part.

MMBench has no training split. Here all circular replicas of a question go to the same part, and
so do all questions about one image: what a model trains on tells nothing about what it is
evaluated on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vovnet.config import DataSettings, mmbench_part
from vovnet.core.files import sha256_bytes
from vovnet.core.records import Sample


@dataclass(frozen=True)
class Division:
    """The part (`train` or `eval`) of the split `base` that is read, and how it is drawn."""

    base: str
    part: str
    fraction: float
    seed: int

    def select(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The samples of the part, in their order."""
        everything = list(samples)
        trained = train_groups(everything, self.fraction, self.seed)
        return (item for item in everything if (item.group in trained) == (self.part == "train"))


def division_of(data: DataSettings, dataset: str, split: str) -> Division | None:
    """The division that a split's name asks for; None for a split of the file itself."""
    part = mmbench_part(data.dataset(dataset), split)
    if part is None:
        return None
    return Division(*part, data.mmbench_train_fraction, data.mmbench_train_seed)


def train_groups(samples: Iterable[Sample], fraction: float, seed: int) -> set[str]:
    """The groups to train on: at most `fraction` of all groups, in whole clusters.

    A hash orders the clusters. One that would exceed the fraction is passed over, so that the
    evaluation part never gets less than its share.
    """
    clusters = _clusters(samples)
    limit = fraction * sum(map(len, clusters))
    trained: set[str] = set()
    for cluster in sorted(clusters, key=lambda names: sha256_bytes(f"{seed}/{names[0]}".encode())):
        if len(trained) + len(cluster) <= limit:
            trained.update(cluster)
    return trained


def _clusters(samples: Iterable[Sample]) -> list[list[str]]:
    """Groups that share images, directly or through other groups; sorted by name in each."""
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

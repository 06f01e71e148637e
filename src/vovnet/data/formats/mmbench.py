"""MMBench: a table of circular multiple-choice questions with base64 images.

MMBench has no training split, so a file can be divided into a part to train on and a part to be
evaluated on. All circular replicas of a question go to the same part, and so do all questions
about one image: what a model trains on tells nothing about what it is evaluated on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from vovnet.config import mmbench_part
from vovnet.core.files import sha256_bytes
from vovnet.core.records import Sample
from vovnet.data.formats.base import DatasetFormat
from vovnet.data.formats.source import Row, Source
from vovnet.data.formats.vlmevalkit import TableImages, lettered_choices, rows_of_split

REQUIRED = ("index", "question", "A", "B")

CIRCULAR_STEP = 1_000_000
"""Pass p of the question with index i has the index i + p * CIRCULAR_STEP."""


def read(source: Source) -> Iterator[Sample]:
    """The samples in file order; every text stays as it stands in the file.

    An index is a number, as VLMEvalKit loads it: `007` and `7` are one index, and come twice.
    For a part of a divided file the whole file is read first, because the division depends on
    which questions share an image.
    """
    images = TableImages(source)
    data, part = source.data, mmbench_part(source.data.dataset(source.dataset), source.split)
    division = None
    if part is not None:
        division = Division(*part, data.mmbench_train_fraction, data.mmbench_train_seed)
        source.facts["division"] = asdict(division)
    split = division.base if division else source.split
    rows = rows_of_split(source, REQUIRED, split)
    samples = (_sample(source, row, images) for row in rows)
    yield from division.select(samples) if division else samples


def _sample(source: Source, row: Row, images: TableImages) -> Sample:
    index = row.whole_number("index")
    pass_index, group = divmod(index, CIRCULAR_STEP)
    choices = lettered_choices(row)
    if len(choices) < 2:
        raise row.error("A", "expected at least two options")
    answer = row.optional_text("answer")
    if answer and answer not in choices:
        raise row.error("answer", f"expected one of {list(choices)}, got {answer!r}")
    return Sample(
        id=source.claim(row, "index", str(index)),
        dataset=source.dataset,
        split=source.split,
        question_type="multiple-choice",
        question=row.text("question"),
        images=images.of(row),
        choices=choices,
        hint=row.optional_text("hint"),
        answer=answer,
        answer_text=choices.get(answer, ""),
        category=row.optional_text("category"),
        subject=row.optional_text("l2-category"),
        group=str(group),
        pass_index=pass_index,
    )


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


FORMAT = DatasetFormat(
    read=read,
    scorer="mmbench",
    question_types=("multiple-choice",),
    files="TSV of MMBench (20230712 and later, V1.1), with base64 images or references to another"
    " row's; the same rows as JSON or XLSX",
    answers="a letter; for training the text of its option",
    category="`category`",
)

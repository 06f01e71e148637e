"""The synthetic world as raw files: datasets in the layouts of their originals.

Question i of a split follows from (seed, dataset, split, i) alone.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vovnet.config import Settings
from vovnet.core.errors import ConfigError
from vovnet.core.files import sha256_file
from vovnet.data.world import questions as world
from vovnet.data.world.raw_layouts import EVALUATION_SPLITS, WRITERS, Question
from vovnet.pipeline.manifest import write_manifest

_SHARES = {
    # In the order of `WRITERS`. MMBench can more often be answered from the text or a prior, MMMU
    # has questions with several images, TextVQA wants a close look; LLaVA, which is for training
    # alone, has every template.
    "sum": (0.12, 0.10, 0.05, 0.08),
    "recall": (0.13, 0.10, 0.05, 0.08),
    "prior": (0.15, 0.10, 0.05, 0.08),
    "colour": (0.06, 0.04, 0.10, 0.07),
    "shape": (0.05, 0.03, 0.06, 0.08),
    "place": (0.04, 0.02, 0.05, 0.08),
    "second_colour": (0.00, 0.05, 0.00, 0.12),
    "pattern_fine": (0.17, 0.21, 0.24, 0.12),
    "pattern_any": (0.05, 0.08, 0.08, 0.09),
    "sign_fine": (0.18, 0.19, 0.22, 0.11),
    "sign_any": (0.05, 0.08, 0.10, 0.09),
}
SHARES = {
    layout: {template: shares[place] for template, shares in _SHARES.items() if shares[place]}
    for place, layout in enumerate(WRITERS)
}
"""How often each template occurs, by format.

COARSE gains over NO about a quarter of what FULL gains, and costs about a quarter of FULL. So no
fixed policy lies far above the mixture of the other two, and a matched random choice gains
nothing.
"""


def synthesize(settings: Settings, dataset: str) -> dict[str, int]:
    """Write every split of a synthetic dataset under its root; returns questions per split.

    `<root>/manifest.json` is written last.
    """
    definition, key = settings.data.dataset(dataset), f"data.datasets.{dataset}"
    if definition.source != "synthetic":
        raise ConfigError(f"{key}.source: expected 'synthetic', got {definition.source!r}")
    if definition.format not in WRITERS:
        raise ConfigError(
            f"{key}.format: expected one of {list(WRITERS)}, which can be rendered, got"
            f" {definition.format!r}"
        )
    root = Path(definition.root)
    shutil.rmtree(root, ignore_errors=True)
    counts: dict[str, int] = {}
    templates: dict[str, dict[str, int]] = {}
    for split in definition.files:
        questions = list(_questions(settings, dataset, definition.format, split))
        WRITERS[definition.format](definition, split, questions)
        counts[split] = len(questions)
        tally = Counter(question.item.template for question in questions)
        templates[split] = dict(sorted(tally.items()))
    files = {
        str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()
    }
    pictures = {name: path for name, path in files.items() if path.suffix == ".png"}
    write_manifest(
        root / "manifest.json",
        step="synthesize",
        settings=settings,
        outputs={name: path for name, path in files.items() if name not in pictures},
        pictures={name: sha256_file(path) for name, path in pictures.items()},
        dataset=dataset,
        seed=settings.data.synthetic.seed,
        num_questions=counts,
        num_images=len(pictures),
        templates=templates,
    )
    return counts


def _questions(settings: Settings, dataset: str, layout: str, split: str) -> Iterator[Question]:
    """The questions of a split. A question whose text occurred before is drawn again."""
    synthetic = settings.data.synthetic
    evaluation = split in EVALUATION_SPLITS
    part: world.Part = "eval" if evaluation else "train"
    count = synthetic.num_eval_questions if evaluation else synthetic.num_train_questions
    seen: set[str] = set()
    for number, template in enumerate(_templates(synthetic.seed, dataset, layout, split, count)):
        rng = np.random.default_rng(_entropy(synthetic.seed, dataset, split, number))
        item = world.make_item(rng, part, template)
        while item.question in seen:
            item = world.make_item(rng, part, template)
        seen.add(item.question)
        yield Question(number, item, rng)


def _templates(seed: int, dataset: str, layout: str, split: str, count: int) -> list[str]:
    """The template of each question: the shares of the layout exactly, in random order."""
    shares = SHARES[layout]
    ends = np.cumsum(list(shares.values()))
    places = (np.arange(count) + 0.5) / count * ends[-1]
    names = np.array(list(shares))[np.searchsorted(ends, places)]
    return list(np.random.default_rng(_entropy(seed, dataset, split, count)).permutation(names))


def _entropy(seed: int, dataset: str, split: str, number: int) -> list[int]:
    name = hashlib.sha256(f"{dataset}/{split}".encode()).digest()[:8]
    return [seed, int.from_bytes(name), number]

"""An endless stream of training questions from the synthetic world, drawn when asked for.

It is what the tiny model is pretrained on: nothing is written to disk, and question i is the
same whenever and wherever it is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import overload

import numpy as np
from PIL import Image

from vovnet.data import world
from vovnet.records import ImageRef, Sample

SHARES = {
    "sum": 0.06,
    "recall": 0.12,
    "prior": 0.06,
    "colour": 0.05,
    "shape": 0.10,
    "place": 0.09,
    "second_colour": 0.07,
    "pattern_fine": 0.09,
    "pattern_any": 0.07,
    "sign_fine": 0.15,
    "sign_any": 0.14,
}
"""Most weight on the fine skills, which take longest to learn."""


class WorldStream(Sequence[Sample]):
    """`count` questions of the world's training part, by index."""

    def __init__(self, seed: int, count: int) -> None:
        self.seed, self.num_questions = seed, count

    def __len__(self) -> int:
        return self.num_questions

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(self.num_questions))]
        item, choices = _draw(self.seed, index)
        images = [
            ImageRef(path=f"{index}-{number}", width=image.width, height=image.height, sha256="")
            for number, image in enumerate(item.images)
        ]
        return Sample(
            id=str(index),
            dataset="world",
            split="train",
            question_type="multiple-choice" if choices else "vqa",
            question=item.question,
            images=images,
            choices=choices,
            answer_text=item.answer,
            category=item.template,
        )

    def load_images(self, sample: Sample) -> list[Image.Image]:
        item, _ = _draw(self.seed, int(sample.id))
        return list(item.images)


@lru_cache(maxsize=8)
def _draw(seed: int, index: int) -> tuple[world.Item, dict[str, str]]:
    """Item `index`; half of the questions offer choices."""
    rng = np.random.default_rng((seed, index))
    item = world.make_item(rng, "train", SHARES)
    if rng.random() < 0.5:
        return item, {}
    return item, dict(zip("ABCDEFGH", world.pick_choices(rng, item), strict=False))

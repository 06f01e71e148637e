"""A stream of training questions from the synthetic world, each drawn when it is asked for.

The tiny model is pretrained on it. Nothing is written to disk, and question i is the same
whenever and wherever it is drawn.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from vovnet.core.errors import ConfigError
from vovnet.core.records import ImageRef, Sample
from vovnet.data.world import questions as world


class WorldStream(Sequence[Sample]):
    """`count` questions of the world's training part, whose templates are drawn by `shares`."""

    def __init__(self, seed: int, count: int, shares: Mapping[str, float]) -> None:
        unknown = sorted(set(shares) - set(world.TEMPLATES))
        if unknown:
            raise ConfigError(f"no template {unknown[0]!r}, expected some of {[*world.TEMPLATES]}")
        self.seed, self.num_questions = seed, count
        self.shares = tuple(sorted(shares.items()))

    def __len__(self) -> int:
        return self.num_questions

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        item, choices = _draw(self.seed, index, self.shares)
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
        item, _ = _draw(self.seed, int(sample.id), self.shares)
        return list(item.images)


@lru_cache(maxsize=8)
def _draw(
    seed: int, index: int, shares: tuple[tuple[str, float], ...]
) -> tuple[world.Item, dict[str, str]]:
    """Item `index`; half of the questions offer choices."""
    rng = np.random.default_rng((seed, index))
    item = world.make_item(rng, "train", world.pick_template(rng, dict(shares)))
    if rng.random() < 0.5:
        return item, {}
    return item, dict(zip("ABCDEFGH", world.pick_choices(rng, item), strict=False))

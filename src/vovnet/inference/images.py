"""Images that worker processes load and cut into patches while the model is at work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Generator
from torch.utils.data import DataLoader, Dataset

from vovnet.config import Settings
from vovnet.core.cost import ViewBudget
from vovnet.core.errors import VovnetError
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.images import load_images, unread_images
from vovnet.model.sequences import Pixels
from vovnet.model.vlm import VisionLanguageModel

PREFETCHED = 16
"""Questions whose images each worker process has ready ahead."""


@dataclass(frozen=True)
class Loaded:
    """A question's images, and their patches within each budget with the seconds they took."""

    images: Sequence[Image.Image]
    pixels: dict[ViewBudget | None, Pixels | None]
    seconds: dict[ViewBudget | None, float]

    def pin_memory(self) -> Loaded:
        """With pinned patches; called by torch's data loader."""
        pinned = {budget: shown and shown.pin_memory() for budget, shown in self.pixels.items()}
        return replace(self, pixels=pinned)


@dataclass(eq=False)
class LoadedImages(Dataset["Loaded | Exception"]):
    """The images of questions within their budgets, in the order in which they are wanted.

    An error is an item like any other: of a worker process it would come back as a traceback.
    """

    settings: Settings
    layout: Layout
    vlm: VisionLanguageModel
    wanted: Sequence[tuple[Sample, Sequence[ViewBudget]]]

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, index: int) -> Loaded | Exception:
        sample, budgets = self.wanted[index]
        loaded = Loaded([], {}, {})
        try:
            if budgets and self.settings.eval.num_beams > 1:
                # The search cuts them itself, question by question; whole they would fill memory.
                return Loaded(unread_images(self.settings, self.layout, sample), {}, {})
            images = load_images(self.settings, self.layout, sample) if budgets else []
            for budget in budgets:
                began = time.perf_counter()
                loaded.pixels[budget] = self.vlm.preprocess(images, budget)
                loaded.seconds[budget] = time.perf_counter() - began
        except (VovnetError, OSError) as error:
            return error
        return loaded


def images_ahead(
    settings: Settings,
    layout: Layout,
    vlm: VisionLanguageModel,
    wanted: Sequence[tuple[Sample, Sequence[ViewBudget]]],
) -> Iterator[Loaded]:
    """The images of samples within their budgets, one sample after the other."""
    num_workers = settings.eval.num_workers
    loader: DataLoader[Loaded | Exception] = DataLoader(
        LoadedImages(settings, layout, vlm, wanted),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=num_workers,
        prefetch_factor=PREFETCHED if num_workers else None,
        pin_memory=vlm.device.type == "cuda",
        generator=Generator(),
    )
    for item in loader:
        if isinstance(item, Exception):
            raise item
        yield item


def _as_it_is(item: Any) -> Any:
    return item

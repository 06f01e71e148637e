"""Training examples: samples made ready for the model, in an order fixed by the seed.

The order of the samples, the view each is shown in during stage 1 and the Gumbel noise
follow from (seed, stage, position in the run) alone: they depend neither on the number of
processes nor on where a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from vovnet.config import Settings
from vovnet.core.errors import VovnetError
from vovnet.core.records import ACTIONS, Sample
from vovnet.data.prompts import question_text
from vovnet.model.qwen3_vl import Prompt, Qwen3VL
from vovnet.model.sequences import Pixels

ImageLoader = Callable[[Sample], list[Image.Image]]

STAGE1_ACTION = {"no_vision": 0, "always_coarse": 1, "always_full": 2}


@dataclass
class Example:
    """One sample at one position of a run.

    `view` is its stage-1 view; `pixels` holds its preprocessed images by view, for the views
    that the stage needs; `sizes` are those of the original images, (width, height).
    """

    prompt: Prompt
    answer_ids: list[int]
    sizes: list[tuple[int, int]]
    pixels: dict[int, Pixels | None]
    view: int
    gumbel_A: Tensor


def sample_order(num_samples: int, num_positions: int, seed: int, stage: int) -> np.ndarray:
    """Sample index at each position of a run: one shuffled pass after the other."""
    num_epochs = -(-num_positions // num_samples)
    passes = [
        np.random.default_rng((seed, stage, epoch)).permutation(num_samples)
        for epoch in range(num_epochs)
    ]
    return np.concatenate(passes)[:num_positions]


class TrainingSet(Dataset[Example]):
    """Examples by their position in the run."""

    def __init__(
        self,
        samples: Sequence[Sample],
        load_images: ImageLoader,
        vlm: Qwen3VL,
        settings: Settings,
        stage: int,
        num_positions: int,
    ) -> None:
        self.samples = samples
        self.load_images = load_images
        self.vlm = vlm
        self.settings = settings
        self.stage = stage
        self.order = sample_order(len(samples), num_positions, settings.training.seed, stage)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> Example:
        sample = self.samples[int(self.order[position])]
        data, training = self.settings.data, self.settings.training
        rng = np.random.default_rng((training.seed, self.stage, 1, position))
        question = question_text(sample, data.prompt_template)
        images = self.load_images(sample)
        view = self._stage1_view(rng)
        views = (view,) if self.stage == 1 else range(1, len(ACTIONS))
        budgets = [self.settings.vision_budget.budget(name) for name in ACTIONS]
        image_first = data.prompt_order == "image_first"
        return Example(
            prompt=self.vlm.prompt(question, data.system_prompt, image_first),
            answer_ids=self.vlm.answer_ids(sample.answer_text, training.max_answer_tokens),
            sizes=[image.size for image in images],
            pixels={chosen: self.vlm.preprocess(images, budgets[chosen]) for chosen in views},
            view=view,
            gumbel_A=torch.from_numpy(rng.gumbel(size=len(ACTIONS))).float(),
        )

    def _stage1_view(self, rng: np.random.Generator) -> int:
        training = self.settings.training
        if training.stage1_baseline_name != "random_policy_matched":
            return STAGE1_ACTION[training.stage1_baseline_name]
        ratios = np.array(training.stage1_target_ratios or (1 / 3, 1 / 3, 1 / 3))
        return int(rng.choice(len(ACTIONS), p=ratios / ratios.sum()))


class LoadedExamples(Dataset[Example | VovnetError]):
    """`examples` for worker processes, whose errors would come back as tracebacks.

    An error is an item like any other; whoever reads it raises it.
    """

    def __init__(self, examples: TrainingSet) -> None:
        self.examples = examples

    def __getitem__(self, position: int) -> Example | VovnetError:
        try:
            return self.examples[position]
        except VovnetError as error:
            return error

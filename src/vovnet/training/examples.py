"""Training examples: samples made ready for the model, in an order fixed by the seed.

The order of the samples, the view each is shown in during stage 1 and the Gumbel noise
follow from (seed, stage, position in the run) alone: they depend neither on the number of
processes nor on where a run was interrupted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from vovnet.config import Settings
from vovnet.config.experiments import stage1_shares
from vovnet.core.cost import ViewBudget
from vovnet.core.errors import VovnetError
from vovnet.core.records import Sample
from vovnet.data.prompts import question_text
from vovnet.model.sequences import Pixels, Prompt
from vovnet.model.vlm import VisionLanguageModel
from vovnet.views import DEFAULT_ACTIONS, num_vision_tokens, view_budget

ImageLoader = Callable[[Sample], Sequence[Image.Image]]


@dataclass
class Example:
    """One sample at one position of a run.

    `view` is its stage-1 view; `pixels` holds its preprocessed images for each budget that the
    stage's views need; `sizes` are those of the original images, (width, height).
    """

    id: str
    prompt: Prompt
    answer_ids: list[int]
    sizes: list[tuple[int, int]]
    pixels: dict[ViewBudget, Pixels | None]
    view: str
    gumbel_A: Tensor

    def pin_memory(self) -> "Example":
        """With pinned images; called by torch's data loader."""
        pinned = {size: shown and shown.pin_memory() for size, shown in self.pixels.items()}
        return replace(self, pixels=pinned)


def sample_order(num_samples: int, num_positions: int, seed: int, stage: int) -> np.ndarray:
    """Sample index at each position of a run: one shuffled pass after the other."""
    num_epochs = -(-num_positions // num_samples)
    passes = [
        np.random.default_rng((seed, stage, epoch)).permutation(num_samples)
        for epoch in range(num_epochs)
    ]
    return np.concatenate(passes)[:num_positions]


def balanced(
    work: Mapping[int, int], count: int, likelihood: Mapping[int, float] | None = None
) -> list[list[int]]:
    """`count` lists of the keys with nearly the same work each: the largest goes where least is.

    Graham (1969), "Bounds on multiprocessing timing anomalies", section 3. Each list ascends, and
    none is empty where there are keys enough.

    With `likelihood`, of a key's further work, keys next to each other in its order go to different
    lists, so that above any bound of it no list has more than one key more than another.
    """
    rounds = [[*work]]
    if likelihood is not None:
        ordered = sorted(work, key=lambda key: (-likelihood[key], key))
        rounds = [ordered[start : start + count] for start in range(0, len(ordered), count)]
    parts: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    for keys in rounds:
        free = list(range(count))
        for key in sorted(keys, key=lambda key: (-work[key], key)):
            least = min(free, key=lambda part: (loads[part], len(parts[part])))
            parts[least].append(key)
            loads[least] += work[key]
            if likelihood is not None:
                free.remove(least)
    return [sorted(part) for part in parts]


@dataclass(eq=False)
class TrainingSet(Dataset[Example]):
    """Examples by their position in the run."""

    samples: Sequence[Sample]
    load_images: ImageLoader
    vlm: VisionLanguageModel
    settings: Settings
    stage: int
    num_positions: int

    def __post_init__(self) -> None:
        seed = self.settings.training.seed
        self.order = sample_order(len(self.samples), self.num_positions, seed, self.stage)

    def __len__(self) -> int:
        return self.num_positions

    def __getitem__(self, position: int) -> Example:
        sample = self.samples[int(self.order[position])]
        data, training = self.settings.data, self.settings.training
        view, gumbel_A = self._drawn(position)
        question = question_text(sample, data.prompt_template)
        images = self.load_images(sample)
        shown = [view] if self.stage == 1 else self.settings.actions
        budgets = dict.fromkeys(view_budget(name, self.settings.vision_budget) for name in shown)
        image_first = data.prompt_order == "image_first"
        return Example(
            id=sample.id,
            prompt=self.vlm.prompt(question, data.system_prompt, image_first),
            answer_ids=self.vlm.answer_ids(sample.answer_text, training.max_answer_tokens),
            sizes=[image.size for image in images],
            pixels={size: self.vlm.preprocess(images, size) for size in budgets if size},
            view=view,
            gumbel_A=gumbel_A,
        )

    def num_tokens(self, position: int) -> int:
        """About how many tokens the largest pass over an example takes, without opening images.

        Those of its images are exact; of its text, four characters are taken for a token.
        """
        sample = self.samples[int(self.order[position])]
        shown = [self._drawn(position)[0]] if self.stage == 1 else self.settings.actions
        text = question_text(sample, self.settings.data.prompt_template)
        return max(self._vision_tokens(sample, shown)) + len(text + sample.answer_text) // 4 + 16

    def leads(self, positions: Iterable[int]) -> dict[int, float] | None:
        """By how much the noise of an example's largest view exceeds that of every other action.

        The larger it is, the likelier that view is sampled, whatever the policy, and with it a
        backward pass through it. None where no view is sampled.
        """
        if self.stage == 1 or not self.settings.policy.use_straight_through:
            return None
        return {position: self._lead(position) for position in positions}

    def _lead(self, position: int) -> float:
        tokens = self._vision_tokens(self.samples[int(self.order[position])], self.settings.actions)
        noise = self._drawn(position)[1].tolist()
        return float(noise.pop(tokens.index(max(tokens))) - max(noise))

    def _vision_tokens(self, sample: Sample, views: Sequence[str]) -> list[int]:
        sizes = [(image.width, image.height) for image in sample.images]
        return [num_vision_tokens(sizes, view, self.settings.vision_budget) for view in views]

    def _drawn(self, position: int) -> tuple[str, Tensor]:
        """What chance gives an example: its stage-1 view, and the noise of each action, (A,)."""
        seed = self.settings.training.seed
        rng = np.random.default_rng((seed, self.stage, 1, position))
        return self._stage1_view(rng), _gumbel_noise(self.settings.actions, rng)

    def _stage1_view(self, rng: np.random.Generator) -> str:
        shares = stage1_shares(self.settings)
        views, ratios = [*shares], np.array([*shares.values()])
        if len(views) == 1:
            return views[0]
        return views[int(rng.choice(len(views), p=ratios / ratios.sum()))]


def _gumbel_noise(actions: Sequence[str], rng: np.random.Generator) -> Tensor:
    """Noise of each action, (A,), drawn for the default actions first.

    So two suites give the actions that they share the same noise, whatever else they hold.
    """
    drawn = list(dict.fromkeys([*DEFAULT_ACTIONS, *actions]))
    noise = dict(zip(drawn, rng.gumbel(size=len(drawn)), strict=True))
    return torch.tensor([noise[action] for action in actions], dtype=torch.float64).float()


@dataclass(eq=False)
class LoadedExamples(Dataset[Example | Exception]):
    """`examples` for worker processes, whose errors would come back as tracebacks.

    An error is an item like any other; whoever reads it raises it.
    """

    examples: TrainingSet

    def __getitem__(self, position: int) -> Example | Exception:
        try:
            return self.examples[position]
        except (VovnetError, OSError) as error:
            return error

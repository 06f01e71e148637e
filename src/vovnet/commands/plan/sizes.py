"""The samples of a suite before it runs: how many there are, and what they look like.

A split that is prepared tells it itself. Of another one the configuration's section `plan` says how
large it is and what a sample is assumed to look like; the synthetic world's sizes stand in `data`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from vovnet.config import EvalSet, Settings, SplitRef
from vovnet.core.layout import ROUTER_FIT
from vovnet.core.records import Sample
from vovnet.data.left_out import Mix, read_left_out
from vovnet.data.prompts import question_text
from vovnet.data.samples import SampleFile

PROBES = 500
"""Samples of a prepared split that stand for all, at equal distances."""

TEMPLATE_TOKENS = 8
"""Of the chat template around a prepared question."""


class UnknownSizeError(Exception):
    """A split is neither prepared nor is its size configured; the text names it."""


@dataclass(frozen=True)
class Probe:
    """What a sample costs by: image sizes in pixels, tokens of the prompt and of its answer."""

    images: tuple[tuple[int, int], ...]
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Part:
    """Samples that the mean of some probes stands for."""

    samples: float
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class _Split:
    samples: int
    questions: float
    probes: tuple[Probe, ...]


class Sizes:
    """The sets of a suite. `assumed` names the splits that are not prepared."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.assumed: set[str] = set()
        self.split = cache(self._split)
        self.left_out = cache(self._left_out)

    def mix(
        self, refs: Sequence[SplitRef], mix: Mix | None = None, cap: int | None = None
    ) -> list[Part]:
        """The samples of some splits; those of a `mix` without what the leakage gate leaves out."""
        parts = []
        for ref in refs:
            split = self.split(ref.dataset, ref.split)
            part = _least(split.samples, ref.max_samples)
            rows = self.left_out(mix).get((ref.dataset, ref.split), {})
            left_out = sum(ref.draw_seed is not None or row < part for row in rows)
            kept = max(0.0, 1 - left_out / max(part, 1))
            parts.append(Part(_least(part, cap) * kept, split.probes))
        return parts

    def observed(self, name: str, cap: int | None = None) -> list[Part]:
        """An evaluation set, or the routers' set; caps count questions."""
        data, quick = self.settings.data, self.settings.quick
        if name == ROUTER_FIT:
            return self.mix(data.router_fit, "router_fit", quick)
        chosen: EvalSet = data.eval_sets[name]
        split = self.split(chosen.dataset, chosen.split)
        caps = (chosen.max_samples, self.settings.eval.max_samples, quick, cap)
        questions = _least(split.questions, *caps)
        passes = split.samples / split.questions if chosen.passes == "all" else 1
        return [Part(questions * passes, split.probes)]

    def _left_out(self, mix: Mix | None) -> dict[tuple[str, str], dict[int, str]]:
        path = self.settings.layout.left_out
        if mix is None or not self.settings.data.leaves_out or not path.exists():
            return {}
        return read_left_out(path, mix)

    def _split(self, dataset: str, split: str) -> _Split:
        path = self.settings.layout.samples(dataset, split)
        if path.exists():
            return self._prepared(SampleFile(path))
        self.assumed.add(f"{dataset} {split}")
        plan = self.settings.plan
        probe = Probe((plan.image_size,), plan.prompt_tokens, plan.training_answer_tokens)
        if split in plan.sizes.get(dataset, {}):
            size = plan.sizes[dataset][split]
            return _Split(size.samples, size.questions or size.samples, (probe,))
        if self.settings.data.dataset(dataset).source == "synthetic":
            world = self.settings.data.synthetic
            count = world.num_train_questions if split == "train" else world.num_eval_questions
            return _Split(count, count, (probe,))
        raise UnknownSizeError(f"plan.sizes has no {dataset} {split}, which is not prepared")

    def _prepared(self, file: SampleFile) -> _Split:
        rows = range(0, len(file), max(1, len(file) // PROBES))
        samples = [file.sample(row) for row in rows]
        first = sum(sample.pass_index == 0 for sample in samples) / len(samples)
        questions = max(1.0, first * len(file))
        return _Split(len(file), questions, tuple(map(self._probe, samples)))

    def _probe(self, sample: Sample) -> Probe:
        per_token = self.settings.plan.characters_per_token
        prompt = question_text(sample, self.settings.data.prompt_template)
        return Probe(
            tuple((image.width, image.height) for image in sample.images),
            round(len(prompt) / per_token) + TEMPLATE_TOKENS,
            round(len(sample.answer_text) / per_token) + 1,
        )


def _least(count: float, *caps: int | None) -> float:
    return min(count, *(cap for cap in caps if cap is not None), count)

"""Counts over the samples of a prepared split, taken in one pass."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vovnet.commands.inspect.mix import kind_of
from vovnet.config import Settings, VisionBudget
from vovnet.core.records import Sample
from vovnet.views import num_vision_tokens
from vovnet.views.logged import is_logged

MAX_LISTED = 8
"""Values of a long list that are printed; the others are only counted."""


@dataclass
class Summary:
    """Counts over a split. Sizes are in pixels; tokens are vision tokens of a whole question.

    `counts` says of each subject how often each of its values occurs, `tokens` of each action.
    """

    tokens: dict[str, Counter[int]]
    num_questions: int = 0  # first passes only, where a question is asked several times
    counts: dict[str, Counter[Any]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, sample: Sample, kind: str, budget: VisionBudget) -> None:
        self.num_questions += sample.pass_index == 0
        self.counts["kinds"][kind] += 1
        self.counts["question types"][sample.question_type] += 1
        self.counts["answer types"][answer_type(sample)] += 1
        self.counts["categories"][sample.category or "(none)"] += 1
        self.counts["per question"][len(sample.images)] += 1
        if sample.group:
            self.counts["groups"][sample.group] += 1
        if sample.choices:
            self.counts["gold letters"][sample.answer or "(none)"] += 1
            self.counts["choices"][len(sample.choices)] += 1
        for image in sample.images:
            if image.sha256 not in self.counts["images"]:
                self.counts["image width"][image.width] += 1
                self.counts["image height"][image.height] += 1
            self.counts["images"][image.sha256] += 1
        for view, counts in self.tokens.items():
            counts[sample_tokens(sample, budget, view)] += 1

    def lines(self) -> Iterator[str]:
        """The summary as text, with one line for each subject."""
        num_groups = len(self.counts["groups"])
        grouped = f" in {num_groups} circular groups" if num_groups else ""
        yield f"samples: {self.counts['question types'].total()}{grouped}"
        for subject in ("question types", "kinds", "answer types"):
            yield f"{subject}: {_listed(self.counts[subject].most_common())}"
        for subject in ("gold letters", "choices"):
            if subject in self.counts:
                yield f"{subject}: {_listed(sorted(self.counts[subject].items()))}"
        yield f"categories: {_listed(self.counts['categories'].most_common())}"
        per_question = _listed(sorted(self.counts["per question"].items()))
        yield f"images: {len(self.counts['images'])} distinct, per question {per_question}"
        for subject in ("image width", "image height"):
            yield f"{subject}: {_spread(self.counts[subject])} px"
        for view, counts in self.tokens.items():
            mean = sum(value * count for value, count in counts.items()) / counts.total()
            yield f"tokens {view.upper()}: {_spread(counts)}, mean {mean:.1f}"


def summarise(samples: Iterable[Sample], settings: Settings) -> Summary:
    shown = [action for action in settings.actions if not is_logged(action)]
    summary = Summary({action: Counter() for action in shown})
    for sample in samples:
        summary.add(sample, kind_of(settings, sample), settings.vision_budget)
    return summary


def answer_type(sample: Sample) -> str:
    """The kind of gold answer that a sample has."""
    if not (sample.answer or sample.answers):
        return "none"
    if sample.choices and sample.question_type == "multiple-choice":
        return "letter"
    if len(sample.answers) > 1:
        return f"{len(sample.answers)} answers"
    return "text"


def sample_tokens(sample: Sample, budget: VisionBudget, view: str) -> int:
    """The number of vision tokens that a view of a sample costs."""
    sizes = [(image.width, image.height) for image in sample.images]
    return num_vision_tokens(sizes, view, budget)


def _listed(counts: Sequence[tuple[object, int]]) -> str:
    """The first of some values, each with its count."""
    shown = [f"{value} {count}" for value, count in counts[:MAX_LISTED]]
    rest = len(counts) - MAX_LISTED
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def _spread(counts: Counter[int]) -> str:
    """The smallest, median and largest of the counted values."""
    values = sorted(counts.elements())
    if not values:
        return "none"
    return f"{values[0]} to {values[-1]}, median {values[(len(values) - 1) // 2]}"

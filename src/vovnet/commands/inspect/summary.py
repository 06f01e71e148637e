"""Counts over the samples of a prepared split, taken in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from vovnet.config import VisionBudget
from vovnet.core.records import Sample
from vovnet.views import num_vision_tokens

MAX_LISTED = 8
"""Values of a long list that are printed; the others are only counted."""


@dataclass
class Summary:
    """Counts over a split. Sizes are in pixels; tokens are vision tokens of a whole question."""

    tokens: dict[str, Counter[int]]  # of each action
    num_samples: int = 0
    num_questions: int = 0  # first passes only, where a question is asked several times
    groups: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    question_types: Counter[str] = field(default_factory=Counter)
    answer_types: Counter[str] = field(default_factory=Counter)
    letters: Counter[str] = field(default_factory=Counter)
    num_choices: Counter[int] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    images_per_question: Counter[int] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    heights: Counter[int] = field(default_factory=Counter)

    def add(self, sample: Sample, budget: VisionBudget) -> None:
        self.num_samples += 1
        self.num_questions += sample.pass_index == 0
        self.question_types[sample.question_type] += 1
        self.answer_types[answer_type(sample)] += 1
        self.categories[sample.category or "(none)"] += 1
        self.images_per_question[len(sample.images)] += 1
        if sample.group:
            self.groups.add(sample.group)
        if sample.choices:
            self.num_choices[len(sample.choices)] += 1
            self.letters[sample.answer or "(none)"] += 1
        for image in sample.images:
            if image.sha256 not in self.images:
                self.images.add(image.sha256)
                self.widths[image.width] += 1
                self.heights[image.height] += 1
        for view, counts in self.tokens.items():
            counts[sample_tokens(sample, budget, view)] += 1

    def lines(self) -> Iterator[str]:
        """The summary as text, with one line for each subject."""
        grouped = f" in {len(self.groups)} circular groups" if self.groups else ""
        yield f"samples: {self.num_samples}{grouped}"
        yield f"question types: {_listed(self.question_types)}"
        yield f"answer types: {_listed(self.answer_types)}"
        if self.letters:
            yield f"gold letters: {_listed(Counter(dict(sorted(self.letters.items()))), False)}"
            yield f"choices: {_listed(Counter(dict(sorted(self.num_choices.items()))), False)}"
        yield f"categories: {_listed(self.categories)}"
        yield (
            f"images: {len(self.images)} distinct, per question "
            f"{_listed(Counter(dict(sorted(self.images_per_question.items()))), False)}"
        )
        yield f"image width: {_spread(self.widths)} px"
        yield f"image height: {_spread(self.heights)} px"
        for view, counts in self.tokens.items():
            yield f"tokens {view.upper()}: {_spread(counts)}, mean {_mean(counts):.1f}"


def summarise(samples: Iterable[Sample], actions: Sequence[str], budget: VisionBudget) -> Summary:
    summary = Summary({action: Counter() for action in actions})
    for sample in samples:
        summary.add(sample, budget)
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


def _listed(counts: Counter[str] | Counter[int], by_count: bool = True) -> str:
    items = counts.most_common() if by_count else list(counts.items())
    shown = [f"{value} {count}" for value, count in items[:MAX_LISTED]]
    rest = len(items) - MAX_LISTED
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def _spread(counts: Counter[int]) -> str:
    """The smallest, median and largest of the counted values."""
    values = sorted(counts.elements())
    if not values:
        return "none"
    return f"{values[0]} to {values[-1]}, median {values[(len(values) - 1) // 2]}"


def _mean(counts: Counter[int]) -> float:
    return sum(value * count for value, count in counts.items()) / counts.total()

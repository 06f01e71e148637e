"""Routers: what looking was worth on average for questions of the same group.

The Bayes router groups by category. Two humble ones know less: `size_router` the image size
alone, `dataset_router` the dataset alone. Each is fitted on part of the training split.
Shapes: N samples, A actions.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vovnet.config import PolicySettings, Section
from vovnet.core.arrays import Floats, Ints, rows_of_each
from vovnet.core.cost import choose_actions, expected_cost
from vovnet.core.records import Sample
from vovnet.policies.base import (
    LAMBDA,
    Expected,
    Knowledge,
    Known,
    PolicyInputs,
    PolicyKind,
    Router,
    RouterKind,
    by_lambda,
)


def known_of(samples: Sequence[Sample], knows: Knowledge) -> Known:
    """What a router knows of samples by themselves: their words or a group, (N,)."""
    read = {"image_size": image_size_bucket, "words": words_of}
    texts = [read[knows](item) if knows in read else str(getattr(item, knows)) for item in samples]
    return np.array(texts, dtype=object)


def image_size_bucket(sample: Sample) -> str:
    """`2^k px`: all images together have at least 2^k and fewer than 2^(k + 1) pixels."""
    pixels = sum(image.width * image.height for image in sample.images)
    return f"2^{math.floor(math.log2(pixels))} px" if pixels else "no image"


def words_of(sample: Sample) -> str:
    """The words of a question: its hint, the question itself and its choices."""
    return " ".join(filter(None, [sample.hint, sample.question, *sample.choices.values()]))


@dataclass(frozen=True, eq=False)
class GroupRouter:
    """Mean correctness and vision tokens of each action, (2, A): by group and over all."""

    means: Mapping[str, Floats]
    overall: Floats

    def expected(self, known: Known) -> Expected:
        """The means of each sample's group; an unseen group has those of all."""
        found = [self.means.get(name, self.overall) for name in known]
        found_N2A = np.reshape(found, (-1, *self.overall.shape))
        return Expected(found_N2A[:, 0], found_N2A[:, 1])

    def unseen_rate(self, known: Known) -> float:
        """Share of the samples whose group the router was not fitted on."""
        return sum(name not in self.means for name in known) / len(known)


def fit_groups(known: Known, scores_NA_correct: Floats, tokens_NA: Floats) -> GroupRouter:
    """Average the correctness and the vision tokens, (N, A) each, of a training split by group."""
    facts_N2A = np.stack([scores_NA_correct, tokens_NA], axis=1)
    means = {name: facts_N2A[rows].mean(axis=0) for name, rows in rows_of_each(known).items()}
    return GroupRouter(means, facts_N2A.mean(axis=0))


Worth = Callable[[PolicyInputs], tuple[Floats, Floats]]
"""Expected correctness and cost of each action, (N, A) each."""


def at_sample_cost(inputs: PolicyInputs) -> tuple[Floats, Floats]:
    """The expected correctness, and the sample's own cost."""
    assert inputs.expected is not None
    return inputs.expected.correctness, inputs.costs


def at_group_cost(inputs: PolicyInputs) -> tuple[Floats, Floats]:
    """The same with the group's mean cost: the sample's own would tell its image size."""
    assert inputs.expected is not None and inputs.expected.vision_tokens is not None
    costs_NA = expected_cost(inputs.expected.vision_tokens, inputs.policy.cost_scale)
    return inputs.expected.correctness, costs_NA


def routed(
    router: RouterKind,
    description: str,
    worth: Worth = at_sample_cost,
    options: type[Section] | None = None,
) -> PolicyKind:
    """A policy that follows a router: argmax_a (expected correctness_a - lambda_cost * cost_a).

    `lambda_cost` is in correctness per cost.
    """

    def first(inputs: PolicyInputs) -> Ints:
        return choose_actions(*worth(inputs), inputs.scalar(inputs.policy.lambda_cost))

    return PolicyKind(
        description,
        first,
        settings=(
            "lambda_cost",
            "lambda_unit",
        ),
        options=options,
        columns=LAMBDA,
        router=router,
        reads_text_pass=lambda _: router.knows == "state",
        scalar=by_lambda(worth),
    )


def _by_group(
    policy: PolicySettings, known: Known, scores_NA: Floats, tokens_NA: Floats, seed: int
) -> Router:
    return fit_groups(known, scores_NA, tokens_NA)


POLICIES = {
    "bayes_router": routed(
        RouterKind("category", _by_group),
        "The action of the highest `mean correctness of the category - lambda_cost * cost_a`, in"
        " correctness per cost; fitted on `data.router_fit`.",
    ),
    "size_router": routed(
        RouterKind("image_size", _by_group),
        "The same by the octave of the images' number of pixels, and nothing else.",
    ),
    "dataset_router": routed(
        RouterKind("dataset", _by_group),
        "The same by dataset; costs are the dataset's means, so that a dataset has one action.",
        at_group_cost,
    ),
}

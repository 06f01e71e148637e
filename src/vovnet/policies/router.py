"""Routers: what looking was worth on average for questions of the same group.

The Bayes router groups by category. Two humble ones know less: `size_router` the image size
alone, `dataset_router` the dataset alone. Each is fitted on part of the training split.
Shapes: N samples, A actions.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from vovnet.core.arrays import Floats, Ints
from vovnet.core.cost import choose_actions, expected_cost
from vovnet.core.records import Sample
from vovnet.policies.base import GroupKey, PolicyInputs, PolicyKind, Router, lambda_cost


def group_of(sample: Sample, key: GroupKey) -> str:
    """The group of a sample: its category, its dataset, or the octave of its number of pixels."""
    return image_size_bucket(sample) if key == "image_size" else str(getattr(sample, key))


def image_size_bucket(sample: Sample) -> str:
    """`2^k px`: all images together have at least 2^k and fewer than 2^(k + 1) pixels."""
    pixels = sum(image.width * image.height for image in sample.images)
    return f"2^{math.floor(math.log2(pixels))} px" if pixels else "no image"


def fit_router(groups: Sequence[str], scores_NA_correct: Floats, tokens_NA: Floats) -> Router:
    """Average the correctness and the vision tokens, (N, A) each, of a training split by group."""
    facts_N2A = np.stack([scores_NA_correct, tokens_NA], axis=1)
    names_N = np.array(groups, dtype=object)
    means = {name: facts_N2A[names_N == name].mean(axis=0) for name in sorted(set(groups))}
    return Router(means, facts_N2A.mean(axis=0))


def by_sample_cost(inputs: PolicyInputs) -> Ints:
    """argmax_a (mean correctness_a - lambda_cost * cost_a); lambda in correctness per cost."""
    scores_NA, _ = _expected(inputs)
    return choose_actions(scores_NA, inputs.costs, inputs.policy.lambda_cost)


def by_group_cost(inputs: PolicyInputs) -> Ints:
    """The same with the group's mean cost: the sample's own would tell its image size."""
    scores_NA, tokens_NA = _expected(inputs)
    costs_NA = expected_cost(tokens_NA, inputs.policy.cost_scale)
    return choose_actions(scores_NA, costs_NA, inputs.policy.lambda_cost)


def _expected(inputs: PolicyInputs) -> tuple[Floats, Floats]:
    assert inputs.router is not None and inputs.groups is not None
    return inputs.router.expected(inputs.groups)


def _router(
    key: GroupKey, description: str, first: Callable[[PolicyInputs], Ints] = by_sample_cost
) -> PolicyKind:
    columns = {"lambda_cost": lambda_cost}
    return PolicyKind(description, first, settings=("lambda_cost",), columns=columns, router=key)


POLICIES = {
    "bayes_router": _router(
        "category",
        "The action of the highest `mean correctness of the category - lambda_cost * cost_a`, in"
        " correctness per cost; fitted on `data.router_fit`.",
    ),
    "size_router": _router(
        "image_size", "The same by the octave of the images' number of pixels, and nothing else."
    ),
    "dataset_router": _router(
        "dataset",
        "The same by dataset; costs are the dataset's means, so that a dataset has one action.",
        by_group_cost,
    ),
}

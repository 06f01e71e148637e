"""A router that knows only the category: what looking is worth there on average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vovnet.cost import choose_actions
from vovnet.policies.base import Actions, Floats, PolicyInputs


@dataclass(frozen=True)
class Router:
    """Mean correctness of each action per category, and over all samples it was fitted on."""

    means: dict[str, tuple[float, ...]]
    overall: tuple[float, ...]

    def expected(self, categories: Sequence[str]) -> Floats:
        """Mean correctness, (N, A); an unseen category gets the overall means."""
        return np.array([self.means.get(name, self.overall) for name in categories])

    def unseen_rate(self, categories: Sequence[str]) -> float:
        """Share of the samples whose category the router was not fitted on."""
        return sum(name not in self.means for name in categories) / len(categories)


def fit_router(categories: Sequence[str], scores_NA_correct: Floats) -> Router:
    """Average the correctness (N, A) of the training split's samples per category."""
    names_N = np.array(categories, dtype=object)
    means = {
        name: tuple(scores_NA_correct[names_N == name].mean(axis=0).tolist())
        for name in sorted(set(categories))
    }
    return Router(means, tuple(scores_NA_correct.mean(axis=0).tolist()))


def bayes(inputs: PolicyInputs) -> Actions:
    """argmax_a (mean correctness_a - lambda_cost * cost_a); lambda in correctness per cost."""
    router, categories = inputs.router, inputs.categories
    assert router is not None
    assert categories is not None
    return choose_actions(router.expected(categories), inputs.costs, inputs.policy.lambda_cost)

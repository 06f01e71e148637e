"""What every policy reads. Shapes: N samples, A actions in the order of `settings.actions`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vovnet.config import PolicySettings
from vovnet.core.cost import expected_cost
from vovnet.core.errors import DataError
from vovnet.views import DEFAULT_ACTIONS as ACTIONS

Actions = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

NO, COARSE, FULL = range(len(ACTIONS))
REDUCED = -1
"""Stands for the one view of a policy that always shows the same reduced view."""


GroupKey = Literal["category", "image_size", "dataset"]
"""The one thing about a question that a router knows."""

Means = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Router:
    """Mean correctness and vision tokens of each action, per group and over the whole set."""

    means: Means
    overall: tuple[float, ...]
    tokens: Means
    overall_tokens: tuple[float, ...]

    def expected(self, groups: Sequence[str]) -> Floats:
        """Mean correctness, (N, A); an unseen group gets the overall means."""
        return np.array([self.means.get(name, self.overall) for name in groups])

    def expected_tokens(self, groups: Sequence[str]) -> Floats:
        """Mean vision tokens, (N, A); an unseen group gets the overall means."""
        return np.array([self.tokens.get(name, self.overall_tokens) for name in groups])

    def unseen_rate(self, groups: Sequence[str]) -> float:
        """Share of the samples whose group the router was not fitted on."""
        return sum(name not in self.means for name in groups) / len(groups)


@dataclass(frozen=True)
class PolicyInputs:
    """Settings, signals, and for reference policies what `decide` was given."""

    policy: PolicySettings
    signals: pd.DataFrame
    questions: Sequence[str]  # (N,), shared by the circular passes of one question
    correctness: Floats | None  # (N, A), in [0, 1]
    groups: Sequence[str] | None  # (N,), by what the router knows
    router: Router | None

    @property
    def num_samples(self) -> int:
        return len(self.signals)

    @cached_property
    def costs(self) -> Floats:
        """Cost of each action, known before looking, (N, A)."""
        tokens = self.signals[[f"tokens_{action}" for action in ACTIONS]]
        return expected_cost(tokens.to_numpy(), self.policy.cost_scale)

    def signal(self, name: str) -> Floats:
        """A column of the signals; a value that is not a number names its sample."""
        values_N = self.signals[name].to_numpy(dtype=np.float64)
        wrong_N = np.isnan(values_N)
        if wrong_N.any():
            sample = self.signals["id"].iloc[int(wrong_N.argmax())]
            raise DataError(f"signals, sample {sample!r}: {name} is missing, the policy needs it")
        return values_N

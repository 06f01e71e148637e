"""What a policy is, and what it is told.

Shapes: N samples, A actions, in the order of `settings.actions`. A view is known by its index into
`PolicyInputs.views`: the actions come first, so that the index of an action is the action itself.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, Protocol, Self, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from vovnet.config import PolicySettings, Section, first_error
from vovnet.core.arrays import Bools, Floats, Ints
from vovnet.core.cost import expected_cost, switching_lambdas
from vovnet.core.errors import ConfigError, DataError

Options = TypeVar("Options", bound=Section)

NO = 0
"""The first action: answer from the text alone."""

STOP = -1
"""In place of a further view: the answer under the last one stands."""

Knowledge = Literal["category", "image_size", "dataset", "words", "state"]
"""The one thing about a question that a router knows."""

OF_EACH: tuple[Knowledge, ...] = ("words", "state")
"""What heads know, which expect something of each question; others know its group alone."""

Known = NDArray[Any]
"""It of each of N questions: texts, (N,), or the hidden states of the text pass, (N, F)."""


@dataclass(frozen=True)
class Expected:
    """What a router expects of each action on N questions, (N, A) each.

    Correctness is in [0, 1]. Vision tokens are those of questions like these, where a router knows
    them; those of a question itself follow from its images.
    """

    correctness: Floats
    vision_tokens: Floats | None = None

    def take(self, rows: Ints) -> "Expected":
        tokens_NA = self.vision_tokens
        return Expected(self.correctness[rows], None if tokens_NA is None else tokens_NA[rows])


class Router(Protocol):
    """How right each action is on a question, learned from outcomes that were observed."""

    def expected(self, known: Known) -> Expected: ...


@dataclass(frozen=True)
class RouterKind:
    """What a router knows, and how it is fitted.

    `fit` is given the policy's settings, what is known of N questions, the correctness in [0, 1]
    and the vision tokens of each action, (N, A) each, and the seed of the trained model. What is
    wrong with the questions is a `DataError`, which does not name their set: the caller knows it.
    """

    knows: Knowledge
    fit: Callable[[PolicySettings, Known, Floats, Floats, int], Router]


@dataclass(frozen=True)
class Confidence:
    """How sure the model is of its answer under a view, one entry per row, (N,).

    Entropy (nats) and margin (of probabilities) are those of the first answer token. The
    log-probability (nats) is that of the whole answer; it is NaN where no answer was generated.
    """

    entropy: Floats
    margin: Floats
    log_probability: Floats

    @classmethod
    def of(cls, answers: Iterable[Any]) -> Self:
        """The confidence of answers that have these three as attributes."""
        names = [item.name for item in fields(cls)]
        told = [[getattr(answer, name) for name in names] for answer in answers]
        return cls(*np.array(told, dtype=np.float64).reshape(-1, len(names)).T)

    def take(self, rows: Ints | Bools) -> "Confidence":
        return Confidence(self.entropy[rows], self.margin[rows], self.log_probability[rows])


@dataclass(frozen=True)
class PolicyInputs:
    """All that a policy is told before it looks.

    Correctness and what its router expects are told only where it asks for them. `values` is the
    policy's scalar for each row, where rows are asked about at values of their own.
    """

    policy: PolicySettings
    actions: Sequence[str]
    views: Sequence[str]  # the actions, then the further views of the policy
    signals: pd.DataFrame
    questions: Sequence[str]  # (N,), shared by the circular passes of one question
    correctness: Floats | None = None  # (N, A), in [0, 1]
    expected: Expected | None = None  # by its router
    values: Floats | None = None  # (N,)

    @property
    def num_samples(self) -> int:
        return len(self.signals)

    @property
    def full(self) -> int:
        """The action FULL."""
        return self.index("full")

    def index(self, view: str) -> int:
        """The index by which a view is known, which for an action is the action."""
        return self.views.index(view)

    def always(self, view: str) -> Ints:
        """The same view for every row, (N,)."""
        return np.full(self.num_samples, self.index(view))

    @cached_property
    def costs(self) -> Floats:
        """The cost of each action, which is known before looking, (N, A)."""
        tokens = self.signals[[f"tokens_{action}" for action in self.actions]]
        return expected_cost(tokens.to_numpy(), self.policy.cost_scale)

    @property
    def text_confidence(self) -> Confidence:
        """The confidence under NO before it is executed: the text pass ends at its first token."""
        entropy_N, margin_N = (
            self.signals[name].to_numpy(dtype=np.float64) for name in ("entropy", "margin")
        )
        return Confidence(entropy_N, margin_N, np.full(self.num_samples, np.nan))

    def signal(self, name: str) -> Floats:
        """A column of the signals; a value that is not a number names its sample."""
        values_N = self.signals[name].to_numpy(dtype=np.float64)
        wrong_N = np.isnan(values_N)
        if wrong_N.any():
            sample = self.signals["id"].iloc[int(wrong_N.argmax())]
            raise DataError(f"signals, sample {sample!r}: {name} is missing, the policy needs it")
        return values_N

    def scalar(self, configured: float) -> float | Floats:
        """The number that moves the policy along its frontier: its setting, or that of each row."""
        return configured if self.values is None else self.values

    def take(self, rows: Ints) -> "PolicyInputs":
        """What is told about some of the rows."""
        return replace(
            self,
            signals=self.signals.iloc[rows],
            questions=[self.questions[row] for row in rows],
            correctness=None if self.correctness is None else self.correctness[rows],
            expected=None if self.expected is None else self.expected.take(rows),
            values=None if self.values is None else self.values[rows],
        )


Told = Callable[[int], Confidence]
"""How sure the model is of its answers to all rows under the view of an index."""


@dataclass(frozen=True)
class Scalar:
    """The one number that moves a policy along its frontier, from looking often to rarely or back.

    `key` is its setting, below `policy`. `switches` gives of each row the values at which what is
    looked at may change, (N, K), in any order; NaN where a row has fewer. Between two neighbouring
    ones the looks of a row are the same. The policy must take it from `PolicyInputs.scalar`.
    """

    key: str
    switches: Callable[[PolicyInputs, Told], Floats]
    low: float = -math.inf


ScalarOf = Callable[[PolicySettings], Scalar | None]
"""That of a policy under its settings; None where no single number of them moves it."""


def by_lambda(worth: Callable[[PolicyInputs], tuple[Floats, Floats]]) -> ScalarOf:
    """That of a policy that follows `lambda_cost`; `worth` gives scores and costs, (N, A) each."""
    scalar = Scalar("lambda_cost", lambda inputs, _: switching_lambdas(*worth(inputs)), low=0.0)
    return lambda policy: scalar


def _no(policy: PolicySettings) -> bool:
    return False


def yes(policy: PolicySettings) -> bool:
    """For `PolicyKind`: a policy of this kind does, whatever its settings."""
    return True


@dataclass(frozen=True)
class PolicyKind:
    """A policy, and all that is asked of it.

    `first` names the view that each row is answered under first. `again`, where there is one, is
    asked after each view with its index and the confidence under it, and names the next view or
    `STOP`; it never names a view that was executed before. Both are pure functions of a row's own
    facts, so that neither order nor batching changes a decision.
    """

    description: str  # in a sentence, for docs/policies.md
    first: Callable[[PolicyInputs], Ints]
    again: Callable[[PolicyInputs, Ints, Confidence], Ints] | None = None
    settings: tuple[str, ...] = ()  # the keys of `policy` that it follows
    options: type[Section] | None = None  # what `policy.options` may hold
    columns: Mapping[str, Callable[[PolicySettings], Any]] = field(default_factory=dict)
    """Columns of results.csv that tell its settings; None leaves one empty."""

    views: Callable[[PolicySettings], list[str]] = lambda _: []  # it shows beside the actions
    reducible: bool = True  # whether `baseline_reduction` may reduce what it shows
    reads_text_pass: Callable[[PolicySettings], bool] = _no
    reads_scores: bool = False  # the trained head's, which a base run does not have
    reads_answers: Callable[[PolicySettings], bool] = _no  # whether `again` needs log-probability
    reads_correctness: bool = False  # an oracle, which cannot be deployed
    router: RouterKind | None = None  # what it follows, where it is fitted on outcomes
    scalar: ScalarOf = lambda _: None  # where it has a frontier
    draws_in_ratios: bool = False  # whether `match` may give it another policy's action ratios
    check_live: Callable[[PolicySettings], None] | None = None  # an error where it cannot run live


def lambda_cost(policy: PolicySettings) -> float:
    """A results column of policies that follow `lambda_cost`."""
    return policy.lambda_cost


def lambda_unit(policy: PolicySettings) -> str | None:
    """What that is the price of, where it is not a unit of cost."""
    return policy.lambda_unit if policy.lambda_unit != "cost" else None


LAMBDA: Mapping[str, Callable[[PolicySettings], Any]] = {
    "lambda_cost": lambda_cost,
    "lambda_unit": lambda_unit,
}
"""The results columns of policies that follow `lambda_cost`."""


def read_options(policy: PolicySettings, kind: type[Options]) -> Options:
    """`policy.options` as the policy declares them; anything else is an error."""
    try:
        return kind.model_validate(policy.options)
    except ValidationError as error:
        separator = "." if error.errors()[0]["loc"] else ": "
        raise ConfigError(f"policy.options{separator}{first_error(error)}") from None

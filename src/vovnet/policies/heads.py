"""Heads fitted afterwards: how right each action is, told from the hidden state or from the words.

They are fitted in seconds on the CPU, on what a trained or an untouched model was observed to
answer to `data.router_fit`. The targets are scores in [0, 1]; where a score is graded, as that of
TextVQA, so is the target. Classifiers are fitted by cross-entropy, a proper scoring rule: what
minimises it is the expected score itself. So what a head expects may be held against outcomes.

Shapes: N samples, F features, A actions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field

from vovnet.config import PolicySettings, Section
from vovnet.core.arrays import Floats
from vovnet.core.errors import DataError
from vovnet.policies.base import (
    LAMBDA,
    Expected,
    Known,
    PolicyKind,
    Router,
    RouterKind,
    read_options,
)
from vovnet.policies.router import routed

Features = Any
"""A matrix, (N, F), that may be sparse."""

HEADS = ("bayes_router", "bag_of_words", "probe")
"""Policies whose routers are fitted on a set itself, too, to tell what each of its questions lets
one expect: by category, by words, by hidden state."""

VARIANCE = 25.0
"""Of a logit under the prior of the probe's weights, whatever the width of the states."""

COMPONENTS = 32
"""Principal components of the states among which neighbours are looked for."""


class ProbeOptions(Section):
    """`policy.options` of `probe`."""

    hidden_units: int = Field(0, ge=0)
    """Of the network per action; with 0 it is linear, a logistic regression."""


class NeighbourOptions(Section):
    """`policy.options` of `nearest_neighbours`."""

    neighbours: int = Field(20, gt=0)
    """Of how many nearest questions the mean correctness is taken."""


@dataclass(frozen=True, eq=False)
class Head(Router):
    """A router that computes features of what it knows, and from them the expected correctness."""

    features: Callable[[Known], Features]
    correctness: Callable[[Features], Floats]

    def expected(self, known: Known) -> Expected:
        return Expected(self.correctness(self.features(known)))


def fit_probe(
    policy: PolicySettings, states_NF: Known, scores_NA: Floats, tokens_NA: Floats, seed: int
) -> Router:
    """A network per action on the standardised states, by default without a hidden layer."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    units = read_options(policy, ProbeOptions).hidden_units

    def make() -> Any:
        if units:
            return MLPClassifier((units,), alpha=1.0, max_iter=5000, random_state=seed)
        return LogisticRegression(C=VARIANCE / states_NF.shape[1], max_iter=1000)

    with _one_thread():
        scale = StandardScaler().fit(states_NF)
        correctness = fit_each_action(make, scale.transform(states_NF), scores_NA)
    return Head(scale.transform, correctness)


def fit_words(
    policy: PolicySettings, texts_N: Known, scores_NA: Floats, tokens_NA: Floats, seed: int
) -> Router:
    """A logistic regression per action on how often each word stands in the question."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    words = CountVectorizer(token_pattern=r"(?u)\b\w+\b")
    try:
        counts_NF = words.fit_transform(texts_N)
    except ValueError:  # an empty vocabulary
        raise DataError("no question has a word, bag_of_words needs some") from None
    with _one_thread():
        correctness = fit_each_action(
            lambda: LogisticRegression(max_iter=1000), counts_NF, scores_NA
        )
    return Head(words.transform, correctness)


def fit_neighbours(
    policy: PolicySettings, states_NF: Known, scores_NA: Floats, tokens_NA: Floats, seed: int
) -> Router:
    """The mean score of the nearest states, in the first principal components.

    One neighbour of average score is added, so that no probability is 0 or 1.
    """
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    count = min(read_options(policy, NeighbourOptions).neighbours, len(states_NF))
    average_A = succession(scores_NA)
    # Where all states are alike, each component has 0/0 of their variance.
    with _one_thread(), np.errstate(invalid="ignore"):
        components = PCA(min(COMPONENTS, *states_NF.shape), random_state=seed)
        project = make_pipeline(StandardScaler(), components)
        # A tree, so that the distance of two states does not depend on what else is asked for.
        nearest = KNeighborsRegressor(count, algorithm="kd_tree")
        nearest.fit(project.fit_transform(states_NF), scores_NA)
    return Head(
        project.transform,
        lambda asked: (count * nearest.predict(asked) + average_A) / (count + 1),
    )


def fit_each_action(
    make: Callable[[], Any], features_NF: Features, scores_NA: Floats
) -> Callable[[Features], Floats]:
    """Fit a classifier of scikit-learn to the score of each action, by cross-entropy."""
    fitted = [_fit(make, features_NF, scores_N) for scores_N in scores_NA.T]
    return lambda asked: np.stack([predict(asked) for predict in fitted], axis=1)


def _fit(
    make: Callable[[], Any], features_NF: Features, scores_N: Floats
) -> Callable[[Features], Floats]:
    """The chance to be right; a score of 0.3 is 0.3 of a right answer, and 0.7 of a wrong one."""
    right, wrong = np.flatnonzero(scores_N > 0), np.flatnonzero(scores_N < 1)
    if not len(right) or not len(wrong):  # nothing to tell apart
        always = float(succession(scores_N))
        return lambda asked: np.full(asked.shape[0], always)
    rows = np.concatenate([right, wrong])
    labels = np.repeat([1, 0], [len(right), len(wrong)])
    weights = np.concatenate([scores_N[right], 1 - scores_N[wrong]])
    model = make().fit(features_NF[rows], labels, sample_weight=weights)
    return lambda asked: np.asarray(model.predict_proba(asked)[:, 1], dtype=np.float64)


def succession(scores_N: Floats) -> Floats:
    """The mean score with one right and one wrong answer added (Laplace's rule), never 0 or 1."""
    return (scores_N.sum(axis=0) + 1) / (len(scores_N) + 2)


@contextmanager
def _one_thread() -> Iterator[None]:
    """How many threads add numbers up changes their last digits, and with them those of a fit."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def by_correctness(learned: PolicyKind) -> PolicyKind:
    """VoVNet with the probe in place of its trained head, on the states which that head reads."""
    return replace(
        learned,
        columns={**LAMBDA, "objective": lambda policy: policy.objective},
        options=ProbeOptions,
        reads_scores=False,
        router=RouterKind("state", fit_probe),
    )


POLICIES = {
    "probe": routed(
        RouterKind("state", fit_probe),
        "The action of the highest `expected correctness - lambda_cost * cost_a` by a head on the"
        " hidden state of the text pass, fitted afterwards on `data.router_fit`.",
        options=ProbeOptions,
    ),
    "bag_of_words": routed(
        RouterKind("words", fit_words),
        "The same by a linear head on the words of the question, which reads no text pass.",
    ),
    "nearest_neighbours": routed(
        RouterKind("state", fit_neighbours),
        "The same by the mean correctness of the questions whose hidden states are nearest.",
        options=NeighbourOptions,
    ),
}

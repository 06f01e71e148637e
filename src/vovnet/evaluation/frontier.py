"""The whole frontier of a policy: what it does at every value of its scalar.

A policy that follows a number (`Scalar` in `vovnet.policies.base`) does the same between two
neighbouring values at which some question's action changes. So there are finitely many operating
points, and stored observations tell all of them: each row is decided about once for each of its
own few pieces, and not once for each value. What a specification sweeps is a part of them, and
nothing that is measured on the frontier depends on which.

Shapes: N rows, K switches of a row, J = K + 1 pieces between them, P operating points.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vovnet.config import Match, PolicySettings
from vovnet.core.arrays import Bools, Floats, Ints
from vovnet.core.cost import choose_actions, switching_lambdas
from vovnet.core.stats import MOST_POINTS
from vovnet.evaluation.match import bucket_shares
from vovnet.evaluation.questions import Questions
from vovnet.evaluation.replay import Observed, execute, router_key
from vovnet.policies import kind_of
from vovnet.policies.base import Confidence, Expected, PolicyInputs
from vovnet.policies.decide import choices, shown_views
from vovnet.policies.randomized import (
    drawn,
    entropy_buckets,
    quantile_thresholds,
    question_uniforms,
)

TINY = float(np.finfo(np.float64).tiny)

APART = 1e-9
"""Switches that are nearer to each other, relative to their size, differ by rounding alone."""


@dataclass(frozen=True)
class Frontier:
    """What a policy does at each of its operating points, both ends included.

    `values` are those of its scalar, ascending, (P,). Each row does one of few things: `piece`,
    (N, P), says which at each point, and `done` what it does then, (N, J) by name. Many frontiers
    are held at a time, so that their arrays over all points are made when they are asked for.
    """

    values: Floats
    piece: NDArray[np.int16]
    done: Mapping[str, NDArray[Any]]

    @property
    def actions(self) -> Ints:
        """The action whose view is answered from, -1 for a view that is none, (N, P)."""
        return self._at("actions")

    @property
    def scores(self) -> Floats:
        """The correctness of the answer, (N, P)."""
        return self._at("scores")

    @property
    def vision_tokens(self) -> Ints:
        """The vision tokens of all executed views, (N, P)."""
        return self._at("vision_tokens")

    @property
    def flops(self) -> Floats:
        """The FLOPs of the text pass, where it is read, and of all executed views, (N, P)."""
        return self._at("flops")

    def actions_at(self, point: int) -> Ints:
        """The same at one point, (N,)."""
        done_NJ: Ints = self.done["actions"]
        return done_NJ[np.arange(len(done_NJ)), self.piece[:, point]]

    def _at(self, name: str) -> NDArray[Any]:
        done_NJ = self.done[name]
        starts_N1 = done_NJ.shape[1] * np.arange(len(done_NJ))[:, None]
        return np.take(done_NJ, starts_N1 + self.piece)


FACTS = ("actions", "scores", "vision_tokens", "flops")


@dataclass(frozen=True)
class Source:
    """What a matched policy copies: a frontier, and the entropy of its text pass, (N,), in nats."""

    frontier: Frontier
    entropy: Floats


def frontier_of(
    policy: PolicySettings,
    questions: Questions,
    observed: Observed,
    expected: Mapping[str, Expected],
) -> Frontier:
    """The frontier of a policy that has a scalar; what the setting of that says does not count."""
    scalar = kind_of(policy).scalar(policy)
    assert scalar is not None, policy.baseline_name
    switches_NK = scalar.switches(*_told(policy, questions, observed, expected))
    found_NK, inside_NJ = _between(switches_NK, scalar.low)
    samples = np.repeat(np.arange(len(found_NK)), inside_NJ.shape[1])
    decision, *costs = execute(policy, questions, observed, expected, samples, inside_NJ.ravel())
    looks_RNJ = np.stack(decision.looks).reshape(-1, *inside_NJ.shape)
    changes_NK = (looks_RNJ[:, :, 1:] != looks_RNJ[:, :, :-1]).any(axis=0) & np.isfinite(found_NK)
    values_P, piece_NP = _operating_points(found_NK, changes_NK, scalar.low)
    places = observed.places(decision.shown)[decision.last]
    facts = (decision.actions, observed.pick("score", samples, places), *costs)
    done = {name: fact.reshape(inside_NJ.shape) for name, fact in zip(FACTS, facts, strict=True)}
    return Frontier(values_P, piece_NP, done)


def matched_frontier(
    policy: PolicySettings, match: Match, source: Source, questions: Questions, observed: Observed
) -> Frontier:
    """That of a random policy which is matched to each operating point of another policy.

    Its draws do not change from point to point, as those of a sweep do not.
    """
    everyone_N, actions = np.arange(len(observed.signals)), observed.actions
    uniform_N = question_uniforms(questions.names, policy.baseline_seed)
    limits: Sequence[float] = ()
    if match.buckets is not None:
        limits = policy.baseline_bucket_thresholds or quantile_thresholds(
            source.entropy, match.buckets
        )
    own_N, other_N = (
        entropy_buckets(entropy_N, limits)
        for entropy_N in (observed.signals["entropy"].to_numpy(), source.entropy)
    )
    actions_NP = np.stack(
        [
            drawn(uniform_N, bucket_shares(taken_N, other_N, len(limits) + 1, len(actions))[own_N])
            for taken_N in source.frontier.actions.T
        ],
        axis=1,
    )
    # What each action costs this policy, which may read the text pass, is what it does itself.
    key = "baseline_target_ratios" if match.buckets is None else "baseline_bucket_ratios"
    by_action = []
    for row_A in np.eye(len(actions)).tolist():
        ratios = [row_A] * (len(limits) + 1) if match.buckets else row_A
        always = policy.model_copy(update={key: ratios, "baseline_bucket_thresholds": limits})
        decision, *costs = execute(always, questions, observed, None, everyone_N)
        places_N = observed.places(decision.shown)[decision.last]
        scores_N = observed.pick("score", everyone_N, places_N)
        by_action.append((decision.actions, scores_N, *costs))
    facts = [np.stack(values, axis=1) for values in zip(*by_action, strict=True)]
    done = dict(zip(FACTS, facts, strict=True))
    return Frontier(source.frontier.values, actions_NP.astype(np.int16), done)


def chosen_at_every_lambda(worth_NA: Floats, costs_NA: Floats) -> Ints:
    """The actions of the highest worth - lambda * cost, at all values at which one changes, (N, P).

    Worth is what is known of an action's correctness, and costs may be in any unit.
    """
    costs_NA = costs_NA / max(float(costs_NA.max()), TINY)
    found_NK, inside_NJ = _between(switching_lambdas(worth_NA, costs_NA), 0.0)
    rows = np.repeat(np.arange(len(found_NK)), inside_NJ.shape[1])
    actions = choose_actions(worth_NA[rows], costs_NA[rows], inside_NJ.ravel())
    actions_NJ = actions.reshape(inside_NJ.shape)
    changes_NK = (actions_NJ[:, 1:] != actions_NJ[:, :-1]) & np.isfinite(found_NK)
    _, piece_NP = _operating_points(found_NK, changes_NK, 0.0)
    return np.take_along_axis(actions_NJ, piece_NP, axis=1)


def _between(switches_NK: Floats, low: float) -> tuple[Floats, Floats]:
    """The switches of each row, ascending and infinite where it has fewer, and a value in between.

    The values, (N, J), are one below, between and above them.
    """
    found_NK = np.sort(np.where(switches_NK > low, switches_NK, np.inf), axis=1)
    ends = np.full((len(found_NK), 1), low), np.full((len(found_NK), 1), np.inf)
    return found_NK, _inside(np.hstack([ends[0], found_NK]), np.hstack([found_NK, ends[1]]))


def _operating_points(
    found_NK: Floats, changes_NK: Bools, low: float
) -> tuple[Floats, NDArray[np.int16]]:
    """The values of the operating points, (P,), and on which piece each row is there, (N, P)."""
    values_P = _operating_values(found_NK[changes_NK], low)
    return values_P, (found_NK[:, :, None] < values_P).sum(axis=1, dtype=np.int16)


def _operating_values(switches: Floats, low: float) -> Floats:
    """A value of the scalar between any two neighbouring switches, and one beyond each end.

    Of more than `MOST_POINTS`, those at quantiles of the switches.
    """
    switches = np.unique(switches)
    apart = np.diff(switches) > APART * np.maximum(1.0, np.abs(switches[1:]))
    switches = switches[np.concatenate([[True], apart])] if len(switches) else switches
    count = min(len(switches) + 1, MOST_POINTS)
    chosen = np.linspace(0, len(switches), count).round().astype(np.int64)
    values_P = _inside(np.append(low, switches), np.append(switches, np.inf))[chosen]
    if np.isfinite(low):
        values_P[0] = low
    return values_P


def _inside(lower: Floats, upper: Floats) -> Floats:
    """A value between two others, which may be infinite."""
    whole = np.isfinite(lower), np.isfinite(upper)
    with np.errstate(invalid="ignore"):
        middle, below, above = (
            lower + (upper - lower) / 2,
            upper - np.maximum(1.0, np.abs(upper)),
            lower + np.maximum(1.0, np.abs(lower)),
        )
    return np.select([whole[0] & whole[1], whole[1], whole[0]], [middle, below, above], 0.0)


def _told(
    policy: PolicySettings,
    questions: Questions,
    observed: Observed,
    expected: Mapping[str, Expected],
) -> tuple[PolicyInputs, Callable[[int], Confidence]]:
    """What switches are found in: all that the policy may be told about each row."""
    everyone_N = np.arange(len(observed.signals))
    shown = shown_views(policy, observed.actions)

    def told(view: int) -> Confidence:
        (place,) = observed.places([shown[view]])
        facts = [observed.pick(item.name, everyone_N, place) for item in fields(Confidence)]
        return Confidence(*facts)

    inputs = PolicyInputs(
        policy,
        observed.actions,
        choices(policy, observed.actions),
        observed.signals,
        questions.names,
        expected=expected[router_key(policy)] if kind_of(policy).router else None,
    )
    return inputs, told

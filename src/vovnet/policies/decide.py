"""Which views a policy may show, and the one function that drives its decisions.

Replays, live runs and the bench decide by it. Shapes: N samples.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vovnet.config import Match, PolicySettings
from vovnet.core.arrays import Bools, Floats, Ints
from vovnet.core.errors import ConfigError
from vovnet.core.records import signal_columns
from vovnet.policies import kind_of
from vovnet.policies.base import NO, STOP, Confidence, Expected, PolicyInputs
from vovnet.views import parse_view
from vovnet.views.logged import is_logged
from vovnet.views.reductions import REDUCTIONS
from vovnet.views.reductions.base import ratio_text

Look = Callable[[Ints, NDArray[np.object_]], Confidence]
"""Executes for each of some rows the view of its name, and tells the confidence under it."""

Clock = Callable[[str], AbstractContextManager[object]]
"""Times what is done inside, under a name."""


@dataclass(frozen=True)
class Decision:
    """What a policy decided, row by row.

    `shown` names the views by their index; the first ones are what the actions show. Each array of
    `looks`, (N,), holds the index of the view that was executed in a round, `STOP` where a row had
    its answer already. `last`, (N,), is the view that is answered from.
    """

    action_names: Sequence[str]
    shown: Sequence[str]
    looks: Sequence[Ints]
    last: Ints
    fallback_triggered: Bools

    @property
    def actions(self) -> Ints:
        """The action whose view is answered from; -1 for a view that is no action, (N,)."""
        return np.where(self.last < len(self.action_names), self.last, -1)

    @property
    def views(self) -> NDArray[np.object_]:
        """The name of the view that is answered from, (N,)."""
        return np.array(self.shown, dtype=object)[self.last]

    @property
    def executed(self) -> NDArray[np.object_]:
        """The executed views in their order, as in `coarse>full`, (N,)."""
        looks_RN = np.stack(self.looks)
        if len(looks_RN) == 1:
            return self.views
        paths_RP, path_N = np.unique(looks_RN, axis=1, return_inverse=True)
        names = [
            ">".join(self.shown[view] for view in path if view != STOP)
            for path in paths_RP.T.tolist()
        ]
        return np.array(names, dtype=object)[path_N]


def decide(
    policy: PolicySettings,
    actions: Sequence[str],
    signals: pd.DataFrame,
    look: Look,
    *,
    questions: Sequence[str],
    scores_NA_correct: Floats | None = None,
    expected: Expected | None = None,
    values: Floats | None = None,
    clock: Clock = nullcontext,
) -> Decision:
    """Choose a view per row of `signals` (columns: `records.signal_columns`), and look.

    `look` executes views; a policy that looks again is then asked for the next one. `questions`
    names the question of each row, (N,): circular passes of one share its name. Oracles need
    `scores_NA_correct`, the correctness in [0, 1] of each action, and no other policy may be given
    it: answers never reach a policy that could be deployed (contract 1). Who follows a router needs
    what it has `expected`. `values`, (N,), are what the policy's scalar is for each row, which its
    setting tells if left out. `clock` times the decisions alone.
    """
    kind = kind_of(policy)
    assert policy.lambda_unit == "cost", "a policy is priced before it decides, see `priced`"
    assert set(signals.columns) == set(signal_columns(actions)), sorted(signals.columns)
    assert (scores_NA_correct is not None) == kind.reads_correctness, policy.baseline_name
    assert (expected is not None) == (kind.router is not None), policy.baseline_name
    views, shown = choices(policy, actions), shown_views(policy, actions)
    inputs = PolicyInputs(
        policy, actions, views, signals, questions, scores_NA_correct, expected, values
    )
    with clock("decision"):
        first_N = kind.first(inputs).astype(np.int64)
    looks, last_N = _execute(inputs, np.array(shown, dtype=object), first_N, look, clock)
    changed_N = (first_N != last_N) & (policy.fallback_mode is not None)
    return Decision(actions, shown, looks, last_N, changed_N)


def _execute(
    inputs: PolicyInputs, shown: NDArray[np.object_], first_N: Ints, look: Look, clock: Clock
) -> tuple[list[Ints], Ints]:
    """Execute the first views, and those that the policy names after having looked.

    Returns the rounds of executed views, and each row's last one.
    """
    kind, at_N, looks, rows = kind_of(inputs.policy), first_N.copy(), [], np.arange(len(first_N))
    # The text pass tells all of NO's confidence but that of a whole answer: where that is
    # enough, a NO that is not answered from need not be executed.
    knows_no = kind.again is not None and not kind.reads_answers(inputs.policy)
    knows_no &= inputs.views[NO] == "no"

    def ask(rows: Ints, confidence: Confidence) -> Ints:
        """The next view of some rows, or `STOP`."""
        if kind.again is None or not len(rows):
            return np.full(len(rows), STOP)
        told = inputs.take(rows)
        with clock("decision"):
            return kind.again(told, at_N[rows], confidence)

    while len(rows):
        next_N = np.full(len(first_N), STOP)
        known = rows[(at_N[rows] == NO) & knows_no]
        next_N[known] = ask(known, inputs.text_confidence.take(known))
        executed = rows[next_N[rows] == STOP]
        confidence = look(executed, shown[at_N[executed]])
        looks.append(np.full(len(first_N), STOP))
        looks[-1][executed] = at_N[executed]
        asked_N = ~np.isin(executed, known)
        next_N[executed[asked_N]] = ask(executed[asked_N], confidence.take(asked_N))
        rows = rows[next_N[rows] != STOP]
        assert (at_N[rows] != next_N[rows]).all(), "a policy named the same view again"
        at_N[rows] = next_N[rows]
        repeated = [(look_N[rows] == at_N[rows]).any() for look_N in looks]
        assert not any(repeated), "a policy named a view that was executed before"
    return looks, at_N


# ---- views that a policy may show ---------------------------------------------------------


def pruning(policy: PolicySettings) -> str:
    """The pruning that the policy's keys describe."""
    mode, ratio = policy.baseline_pruning_mode, ratio_text(policy.baseline_pruning_ratio)
    return f"{mode}-{ratio}" if mode in REDUCTIONS else f"prune-{mode}-{ratio}"


def merging(policy: PolicySettings) -> str:
    """The merging that the policy's keys describe."""
    mode, weight = policy.baseline_merge_mode, policy.baseline_merge_weight
    return f"merge-{mode}-{weight}-{ratio_text(policy.baseline_merge_ratio)}"


_BY_KEYS = {"pruning": pruning, "merging": merging}


def choices(policy: PolicySettings, actions: Sequence[str]) -> list[str]:
    """The views that a policy chooses from: the actions, then those that are its own."""
    return list(dict.fromkeys([*actions, *kind_of(policy).views(policy)]))


def shown_views(policy: PolicySettings, actions: Sequence[str]) -> list[str]:
    """What a policy shows for each of its choices; `policy.reduce` reduces every look.

    The action is chosen first, at the actions' own costs.
    """
    return [_reduced(name, policy) for name in choices(policy, actions)]


def further_views(policy: PolicySettings, actions: Sequence[str]) -> list[str]:
    """The views beside the actions that a policy may show."""
    names = dict.fromkeys(shown_views(policy, actions))
    return [name for name in names if name not in actions]


def setting_columns(policy: PolicySettings, match: Match | None = None) -> dict[str, str | float]:
    """What results.csv says about a policy: its name, and the settings that it follows.

    A policy matched to another's action ratios carries the value of its match.
    """
    kind = kind_of(policy)
    columns: dict[str, str | float] = {"baseline_name": policy.baseline_name or ""}
    if match is not None:
        columns[match.column] = getattr(policy, match.key)
    told = {name: tell(policy) for name, tell in kind.columns.items()}
    columns |= {name: value for name, value in told.items() if value is not None}
    # Of several views of its own the last one is the dearest, and tells them apart.
    own = _reduced((kind.views(policy) or ["full"])[-1], policy)
    return columns | ({} if is_logged(own) else parse_view(own).columns)


def _reduced(name: str, policy: PolicySettings) -> str:
    """A view as `reduce` or `baseline_reduction` leaves it."""
    if name == "no" or (policy.baseline_reduction is None and policy.reduce is None):
        return name
    key = "baseline_reduction" if policy.reduce is None else "reduce"
    if policy.baseline_reduction is not None and policy.reduce is not None:
        raise ConfigError("policy.reduce: expected none beside baseline_reduction")
    if not kind_of(policy).reducible:
        raise ConfigError(
            f"policy.{key}: {policy.baseline_name!r} cannot be reduced once more,"
            " expected a policy that chooses among the actions by the signals"
        )
    if is_logged(name):
        raise ConfigError(f"policy.{key}: {name!r} was shown by another program, expected none")
    reduction = policy.reduce or _BY_KEYS[str(policy.baseline_reduction)](policy)
    return parse_view(f"{name}+{reduction}").name

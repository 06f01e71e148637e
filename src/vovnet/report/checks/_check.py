"""What a sanity check is, and the rows that checks look at.

A check is a function from the report's inputs to findings, one per place it looked at. Its module
adds it to its `RULES` by a decorator. A check whose experiments are not in the configuration raises
`NotRunError` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from vovnet.report.inputs import SAME, Inputs, per_seed

Kind = Literal["invariant", "expectation"]

BLOCKS = (
    *("run", "A0", "A1", "A2", "B1", "B2", "B3", "B4", "B5", "B6", "B7"),
    *("C1", "D2", "D3", "E1", "F2", "H1", "live", "hull", "score", "need"),
)
"""The order of checks: the run, the specification's blocks, then what the design adds."""

MAX_LISTED = 9


class NotRunError(Exception):
    """Why a check cannot be run on these results."""


@dataclass(frozen=True)
class Finding:
    """What a check found at one place, such as a dataset, and in one seed if it looks at each."""

    where: str
    passed: bool | np.bool_
    numbers: str
    seed: int | None = None


Look = Callable[[Inputs], Iterable[Finding]]


@dataclass(frozen=True)
class Rule:
    """A registered check."""

    block: str
    name: str
    kind: Kind
    look: Look


@dataclass(frozen=True)
class Check:
    """The outcome of a check; `passed` is None where it was not run."""

    block: str
    name: str
    kind: Kind
    passed: bool | None
    numbers: str


class Rules(list[Rule]):
    """The checks of a module; `invariant` and `expectation` decorate a function that is one."""

    def invariant(self, block: str, name: str) -> Callable[[Look], Look]:
        return partial(self._add, block, name, "invariant")

    def expectation(self, block: str, name: str) -> Callable[[Look], Look]:
        return partial(self._add, block, name, "expectation")

    def _add(self, block: str, name: str, kind: Kind, look: Look) -> Look:
        self.append(Rule(block, name, kind, look))
        return look


def run_check(rule: Rule, inputs: Inputs) -> Check:
    """Run one check; where it fails, its numbers name the places that failed."""
    found, reason = [], "no results to compare"
    try:
        found = list(rule.look(inputs))
    except NotRunError as error:
        reason = str(error)
    if not found:
        return Check(rule.block, rule.name, rule.kind, None, f"not run: {reason}")
    failed = [finding for finding in found if not finding.passed]
    numbers = f"{len(found) - len(failed)} of {len(found)} hold. {_listed(failed or found)}"
    return Check(rule.block, rule.name, rule.kind, not failed, numbers)


def _listed(findings: list[Finding]) -> str:
    """One text per place: its seeds side by side, or only one of them where they agree."""
    places: dict[str, list[Finding]] = {}
    for finding in findings:
        places.setdefault(finding.where, []).append(finding)
    listed = []
    for where, found in places.items():
        seeds = [str(item.seed) for item in found if item.seed is not None]
        told = f" (seed{'s'[: len(seeds) - 1]} {', '.join(seeds)})" if seeds else ""
        texts = [item.numbers for item in found]
        texts = texts[:1] if len(set(texts)) == 1 else texts
        listed.append(f"{where}{told}: {' / '.join(texts)}")
    more = [f"and {len(listed) - MAX_LISTED} more"] if len(listed) > MAX_LISTED else []
    return "; ".join([*listed[:MAX_LISTED], *more])


# ---- rows that checks look at ------------------------------------------------------------


def baseline_rows(inputs: Inputs, baseline: str) -> pd.DataFrame:
    names = inputs.experiments(baseline)
    if not names:
        raise NotRunError(f"no experiment has the policy {baseline}")
    return inputs.points[inputs.points["experiment"].isin(names)]


def beside_oracle(inputs: Inputs) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """VoVNet's points beside the oracle over the same model and samples, per dataset and seed."""
    oracle = baseline_rows(inputs, "oracle")[[*SAME, "accuracy", "avg_cost"]]
    names = [name for name in map(inputs.main, inputs.datasets()) if name is not None]
    vovnet = inputs.points[inputs.points["experiment"].isin(names)]
    return per_seed(vovnet.merge(oracle, on=SAME, suffixes=("", "_oracle")))
